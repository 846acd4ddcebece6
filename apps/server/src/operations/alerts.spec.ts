import { Logger } from '@nestjs/common';
import type { Config } from '#lib/platform';
import { Alerts } from './alerts.js';
import type { Observer } from './observation.js';
import { Statistics } from './statistics.js';

describe('checks of alert rules', () => {
  let alerts: Alerts;
  let looks: jest.SpyInstance;
  beforeEach(() => {
    Logger.overrideLogger(false);
    jest.useFakeTimers();
    alerts = new Alerts({} as Observer, new Statistics(), { alertIntervalMs: 10_000 } as Config);
    looks = jest.spyOn(alerts, 'evaluate').mockResolvedValue();
    alerts.onApplicationBootstrap();
  });
  afterEach(async () => {
    await alerts.onApplicationShutdown();
    jest.useRealTimers();
    Logger.overrideLogger(['log', 'warn', 'error']);
  });
  const looksIn = (seconds: number) => {
    looks.mockClear();
    jest.advanceTimersByTime(seconds * 1_000);
    return looks.mock.calls.length;
  };

  it('run as often as configured', () => {
    expect(looksIn(60)).toBe(6);
  });

  it('run as often as an administrator sets, and only then', () => {
    alerts.change({ intervalSeconds: 20 }, 'somebody');
    expect(looksIn(60)).toBe(3);
    alerts.change({ running: false }, 'somebody');
    expect(looksIn(3_600)).toBe(0);
    alerts.change({ running: true }, 'somebody');
    expect(looksIn(60)).toBe(3);
  });

  it('end with the process, whatever an administrator sets then', async () => {
    await alerts.onApplicationShutdown();
    alerts.change({ running: true }, 'somebody');
    expect(looksIn(60)).toBe(0);
  });
});
