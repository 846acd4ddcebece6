import { decodeMetadata, encodeMetadata } from './metadata.js';

describe('the metadata of an event as the log keeps it', () => {
  const id = '0196a0c0-0000-7000-8000-000000000001';
  const event = (metadata: { commandId: string; correlationId: string; causationId: string }) => ({
    id,
    type: 'Number',
    schemaVersion: 1,
    data: {},
    metadata: { command: 'Number', actor: 'someone', ...metadata },
  });

  it('leaves out what the event id and the command id already say', () => {
    const text = encodeMetadata(event({ commandId: id, correlationId: id, causationId: id }));
    expect(JSON.parse(text)).toEqual({ command: 'Number', actor: 'someone' });
  });

  it.each([
    ['a command without an id of its own', { commandId: id, correlationId: id, causationId: id }],
    ['a command with one', { commandId: 'c', correlationId: 'c', causationId: 'c' }],
    ['a conversation', { commandId: id, correlationId: 'talk', causationId: id }],
    ['a cause', { commandId: 'c', correlationId: 'c', causationId: id }],
    ['ids that all differ', { commandId: 'c', correlationId: 'd', causationId: 'e' }],
  ])('is complete when it is read again: %s', (_, ids) => {
    const { metadata } = event(ids);
    expect(decodeMetadata(id, encodeMetadata(event(ids)))).toEqual(metadata);
  });

  it('does not change the event that is recorded', () => {
    const recorded = event({ commandId: id, correlationId: id, causationId: id });
    encodeMetadata(recorded);
    expect(recorded).toEqual(event({ commandId: id, correlationId: id, causationId: id }));
  });
});
