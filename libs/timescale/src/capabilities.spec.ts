import { capabilitiesOf } from './capabilities.js';

const server = { timescaledb: '2.19.3', postgresql: '17.11', workers: 16 };

describe('the capabilities of a database', () => {
  it('are complete on the Timescale edition', () => {
    expect(capabilitiesOf({ ...server, edition: 'timescale' })).toMatchObject({
      compression: { available: true },
      continuousAggregates: { available: true },
      retentionPolicies: { available: true },
      scheduler: { available: true },
    });
  });

  it('do not include the licensed features on the Apache edition, each with the reason', () => {
    const { compression, continuousAggregates, retentionPolicies, scheduler } = capabilitiesOf({
      ...server,
      edition: 'apache',
    });
    for (const feature of [compression, continuousAggregates, retentionPolicies, scheduler]) {
      expect(feature).toMatchObject({
        available: false,
        reason: expect.stringContaining('Apache edition') as string,
      });
    }
  });

  it('do not include policies if no background worker would run them', () => {
    expect(capabilitiesOf({ ...server, edition: 'timescale', workers: 0 })).toMatchObject({
      compression: { available: true },
      retentionPolicies: {
        available: false,
        reason: expect.stringContaining('max_background_workers') as string,
      },
    });
  });
});
