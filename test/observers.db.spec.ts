import { Logger } from '@nestjs/common';
import { CreateFlight, GetFlight } from '#lib/flight';
import { aFlight } from './support/samples.js';
import { useWaylog } from './support/waylog.js';

describe('observers of commands and queries', () => {
  const told: string[] = [];
  const waylog = useWaylog({
    onCommand: (command, outcome) => {
      told.push(`${command} ${outcome}`);
      throw new Error('the meter is broken');
    },
    onQuery: async (query, outcome) => {
      told.push(`${query} ${outcome}`);
      await Promise.reject(new Error('the meter is broken'));
    },
  });

  it('do not change their outcome when they fail, at once or later', async () => {
    const warnings: string[] = [];
    const warn = jest.spyOn(Logger.prototype, 'warn').mockImplementation((text: string) => {
      warnings.push(text);
    });
    const unhandled = jest.fn();
    process.on('unhandledRejection', unhandled);
    try {
      const { position } = await waylog.execute(new CreateFlight({ flight: aFlight('seen') }));
      const flight = await waylog.query(new GetFlight('seen', { minPosition: position }));
      expect(flight.id).toBe('seen');
      await expect(waylog.execute(new CreateFlight({ flight: aFlight('seen') }))).rejects.toMatchObject({
        code: 'flight.already-exists',
      });
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off('unhandledRejection', unhandled);
      warn.mockRestore();
    }
    expect(told).toEqual(['CreateFlight done', 'GetFlight done', 'CreateFlight refused']);
    expect(unhandled).not.toHaveBeenCalled();
    const said = 'An observer has failed, and what it was told of has not: the meter is broken';
    expect(warnings).toEqual([said, said, said]);
  });
});
