import { Announcer } from './announcer.js';
import { eventually } from '../../../../test/support/eventually.js';

describe('Announcer', () => {
  it('announces at once, and later growth with one more announcement', async () => {
    const sent: (() => void)[] = [];
    const announcer = new Announcer(() => new Promise<void>((resolve) => sent.push(resolve)));
    announcer.announce();
    expect(sent).toHaveLength(1);
    for (let n = 0; n < 10; n++) announcer.announce();
    expect(sent).toHaveLength(1);
    sent[0]?.();
    await eventually(() => sent.length >= 2);
    sent[1]?.();
    await announcer.settled();
    expect(sent).toHaveLength(2);
  });

  it('continues after a failed announcement', async () => {
    let sent = 0;
    const announcer = new Announcer(() => Promise.reject(new Error(String(++sent))));
    announcer.announce();
    await announcer.settled();
    announcer.announce();
    await announcer.settled();
    expect(sent).toBe(2);
  });
});
