import { seededRandom } from '#lib/platform';
import { checkRegister, type RegisterOperation } from './register.js';

let ids = 0;
const write = (client: string, value: number, invoked: number, ended?: number): RegisterOperation => ({
  id: ++ids,
  client,
  kind: 'write',
  value,
  invoked,
  ended,
});
const read = (
  client: string,
  value: number,
  invoked: number,
  ended: number,
  kind: 'latest' | 'own' = 'latest',
): RegisterOperation => ({ id: ++ids, client, kind, value, invoked, ended });
const isLinearizable = (...history: RegisterOperation[]) => checkRegister(history, 0).linearizable;

describe('the checker of register histories accepts', () => {
  it('an empty history, and a read of the initial value', () => {
    expect(isLinearizable()).toBe(true);
    expect(isLinearizable(read('a', 0, 1, 2))).toBe(true);
  });

  it('operations one after another', () =>
    expect(
      isLinearizable(write('a', 1, 1, 2), read('b', 1, 3, 4), write('b', 2, 5, 6), read('a', 2, 7, 8)),
    ).toBe(true));

  it('concurrent writes in either order, as the reads say', () => {
    for (const last of [1, 2])
      expect(isLinearizable(write('a', 1, 1, 10), write('b', 2, 2, 9), read('c', last, 11, 12))).toBe(true);
  });

  it('a read that overlaps a write, with the old value and with the new one', () => {
    for (const value of [0, 1])
      expect(isLinearizable(write('a', 1, 1, 10), read('b', value, 2, 3))).toBe(true);
  });

  it('a write of unknown outcome that takes effect later, or never', () => {
    const unknown = write('a', 1, 1);
    expect(isLinearizable(unknown, read('b', 0, 2, 3), read('b', 1, 100, 101))).toBe(true);
    expect(isLinearizable(unknown, write('b', 2, 2, 3), read('b', 2, 100, 101))).toBe(true);
    expect(isLinearizable(unknown, write('b', 2, 2, 3), read('b', 1, 100, 101))).toBe(true);
  });

  it('an answer that came late to a command that took effect long before', () =>
    expect(
      isLinearizable(write('a', 1, 1, 100), read('b', 1, 2, 3), write('b', 2, 4, 5), read('c', 2, 6, 7)),
    ).toBe(true));

  it("a read behind others’ writes, which only has to include the client's own", () => {
    const history = [write('a', 1, 1, 2), write('b', 2, 3, 4)];
    expect(isLinearizable(...history, read('a', 1, 5, 6, 'own'))).toBe(true);
    expect(isLinearizable(...history, read('a', 2, 5, 6, 'own'))).toBe(true);
    expect(isLinearizable(...history, read('c', 0, 5, 6, 'own'))).toBe(true);
  });
});

describe('the checker of register histories finds', () => {
  it('a stale read', () => {
    expect(isLinearizable(write('a', 1, 1, 2), read('b', 0, 3, 4))).toBe(false);
    expect(isLinearizable(write('a', 1, 1, 2), write('a', 2, 3, 4), read('b', 1, 5, 6))).toBe(false);
  });

  it('a lost update', () =>
    expect(
      isLinearizable(write('a', 1, 1, 2), read('b', 1, 3, 4), write('a', 2, 5, 6), read('b', 1, 7, 8)),
    ).toBe(false));

  it('a read from the future', () => {
    expect(isLinearizable(read('b', 1, 1, 2), write('a', 1, 3, 4))).toBe(false);
    // Also one that could go back in time.
    expect(isLinearizable(read('b', 1, 1, 2, 'own'), write('a', 1, 3, 4))).toBe(false);
  });

  it('a value that was never written', () =>
    expect(isLinearizable(write('a', 1, 1, 2), read('b', 7, 3, 4))).toBe(false));

  it('reads that go back', () => {
    const overlapping = write('a', 1, 1, 100);
    expect(isLinearizable(overlapping, read('b', 1, 2, 3), read('c', 0, 4, 5))).toBe(false);
    expect(isLinearizable(overlapping, read('b', 1, 2, 3, 'own'), read('b', 0, 4, 5, 'own'))).toBe(false);
  });

  it('a client that does not read its own write', () => {
    expect(isLinearizable(write('a', 1, 1, 2), read('a', 0, 3, 4, 'own'))).toBe(false);
    // Also where another client has overwritten it since, and the value is one before both.
    expect(isLinearizable(write('a', 1, 1, 2), write('b', 2, 3, 4), read('a', 0, 5, 6, 'own'))).toBe(false);
  });

  it('a write that took effect twice', () =>
    expect(
      isLinearizable(
        write('a', 1, 1, 2),
        read('b', 1, 3, 4),
        write('b', 2, 5, 6),
        read('b', 2, 7, 8),
        read('b', 1, 9, 10),
      ),
    ).toBe(false));

  it('two orders of the same writes, seen by two readers', () =>
    expect(
      isLinearizable(
        write('a', 1, 1, 100),
        write('b', 2, 1, 100),
        read('c', 1, 2, 3),
        read('c', 2, 4, 5),
        read('d', 1, 6, 7),
      ),
    ).toBe(false));

  it('and reports how far it got, and what did not fit', () => {
    const good = [write('a', 1, 1, 2), read('b', 1, 3, 4)];
    const ids = good.map(({ id }) => id);
    const unheard = read('b', 7, 5, 6);
    expect(checkRegister([...good, unheard], 0)).toEqual({
      linearizable: false,
      longest: ids,
      stuck: [unheard],
    });
    const stale = [write('a', 2, 5, 6), read('b', 1, 7, 8)];
    expect(checkRegister([...good, ...stale], 0)).toEqual({
      linearizable: false,
      longest: ids,
      stuck: [stale[1]],
    });
  });
});

describe('the checker on generated histories of a register', () => {
  /** Runs six clients against a register in memory; each operation takes effect at a moment within its time. */
  function simulated(random: () => number, operations: number) {
    const history: (RegisterOperation & { at: number })[] = [];
    const clients = Array.from({ length: 6 }, (_, n) => ({ name: `c${n}`, free: 0 }));
    for (let n = 1; n <= operations; n++) {
      const client = clients[Math.floor(random() * clients.length)]!;
      const invoked = client.free + random();
      const at = invoked + random() * (random() < 0.05 ? 20 : 2);
      const ended = at + random() * (random() < 0.05 ? 20 : 2);
      client.free = ended;
      const isWrite = random() < 0.5;
      history.push(
        isWrite
          ? { ...write(client.name, n, invoked, random() < 0.02 ? undefined : ended), at }
          : { ...read(client.name, 0, invoked, ended), at },
      );
    }
    let value = 0;
    return history
      .sort((a, b) => a.at - b.at)
      .map((operation) => {
        if (operation.kind === 'write') value = operation.value;
        return operation.kind === 'write' ? operation : { ...operation, value };
      });
  }

  it('handles histories as long as those of a run', () => {
    expect(checkRegister(simulated(seededRandom(7), 20_000), 0).linearizable).toBe(true);
  });

  it('accepts the behaviour of a register, and finds every read that was made one write older', () => {
    const random = seededRandom(24);
    for (let round = 0; round < 20; round++) {
      const history = simulated(random, 400);
      const verdict = checkRegister(history, 0);
      expect(verdict.linearizable).toBe(true);
      // A read whose value was overwritten, and the overwriting acknowledged, before the read began.
      const writes = history.filter(({ kind }) => kind === 'write');
      const victims = history.flatMap((operation, i) => {
        if (operation.kind === 'write') return [];
        const before = writes.filter((w) => w.ended !== undefined && w.ended < operation.invoked);
        const old = before.find((w) => before.some((next) => next.invoked > w.ended!));
        return old ? [{ i, value: old.value }] : [];
      });
      const victim = victims[Math.floor(random() * victims.length)]!;
      const broken = history.map((operation, i) =>
        i === victim.i ? { ...operation, value: victim.value } : operation,
      );
      expect(checkRegister(broken, 0).linearizable).toBe(false);
    }
  });
});
