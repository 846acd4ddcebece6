import { v7 as uuidv7 } from 'uuid';
import { conflict } from '#lib/platform';
import type { Vocabulary } from '../vocabulary.js';
import type { Decider } from '../decisions/decider.js';
import { DecisionRoom } from '../decisions/decision-room.js';
import { DecisionStreams } from '../decisions/decision-streams.js';
import type { StoreUnderTest } from './event-store.contract.js';

// A shelf of parts, and orders that take from what is on it.
type Moved = { readonly type: 'Moved'; readonly data: { readonly parts: number } };
interface Shelf {
  parts: number;
  moves: number;
}
const shelf: Decider<Shelf, Moved> = {
  version: 1,
  initialState: () => ({ parts: 0, moves: 0 }),
  // In place, as deciders may: what a reader holds must be its own.
  evolve: (state, { data }) => {
    state.parts += data.parts;
    state.moves++;
    return state;
  },
  fork: (state) => ({ ...state }),
  sizeOf: () => 1_000,
};
const move =
  (...parts: number[]) =>
  (): Moved[] =>
    parts.map((n) => ({ type: 'Moved', data: { parts: n } }));
const as = { command: 'Move' };

/** What decisions see of other streams, over every store. */
export function describeReferences(
  name: string,
  open: (vocabulary: Vocabulary) => Promise<StoreUnderTest>,
): void {
  describe(`${name} lets a decision read other streams`, () => {
    let subject: StoreUnderTest;
    const inProcess = (room = new DecisionRoom()) =>
      new DecisionStreams({ store: subject.store, decider: shelf, category: 'shelf', room });
    const newId = () => `references-${uuidv7()}`;
    beforeAll(async () => {
      subject = await open({});
    });
    afterAll(() => subject.dispose());

    /** Records what another shelf holds at the time. */
    const copyOf = (shelves: DecisionStreams<Shelf, Moved>, id: string, other: string) => {
      let seen: Shelf | undefined;
      return shelves.change(
        id,
        () => move(seen?.parts ?? NaN)(),
        as,
        async () => {
          seen = await shelves.stateAtEnd(other);
        },
      );
    };
    const partsOf = async (id: string) => (await inProcess().load(id)).state.parts;

    it('at their ends, whoever wrote there last', async () => {
      const [mine, theirs] = [inProcess(), inProcess()];
      const [from, to] = [newId(), newId()];
      await mine.change(from, move(5), as);
      await copyOf(mine, to, from);
      expect(await partsOf(to)).toBe(5);
      await theirs.change(from, move(2), as);
      await copyOf(mine, to, from);
      expect(await partsOf(to)).toBe(5 + 7);
    });

    it('with the initial state where there is none yet', async () => {
      const to = newId();
      await copyOf(inProcess(), to, newId());
      expect(await partsOf(to)).toBe(0);
    });

    it('each once, however many read and write them at a time', async () => {
      const shelves = inProcess();
      const from = newId();
      await Promise.all(
        Array.from({ length: 40 }, async (_, n) => {
          if (n % 4 === 0) await shelves.change(from, move(1, 1), as);
          const { parts, moves } = { ...(await shelves.stateAtEnd(from)) };
          // All of a command or nothing of it, and no event twice.
          expect({ parts, isWhole: parts % 2 === 0 }).toEqual({ parts: moves, isWhole: true });
        }),
      );
      expect(await shelves.stateAtEnd(from)).toEqual({ parts: 20, moves: 20 });
      expect(await partsOf(from)).toBe(20);
    });

    it('that read it in turn, and neither waits for the other', async () => {
      const shelves = inProcess();
      const [one, other] = [newId(), newId()];
      await shelves.change(one, move(1), as);
      await shelves.change(other, move(2), as);
      await Promise.all([
        ...Array.from({ length: 10 }, () => copyOf(shelves, one, other)),
        ...Array.from({ length: 10 }, () => copyOf(shelves, other, one)),
      ]);
      expect((await shelves.load(one)).revision).toBe(10);
      expect((await shelves.load(other)).revision).toBe(10);
    });

    it('again when its own stream has moved before it was recorded', async () => {
      const [mine, theirs] = [inProcess(), inProcess()];
      const [from, to] = [newId(), newId()];
      await mine.change(to, move(0), as);
      let attempts = 0;
      await mine
        .change(
          to,
          (state) => {
            if (state.moves < 2) return move(100)();
            throw conflict('shelf.moved', 'moved');
          },
          as,
          async () => {
            await mine.stateAtEnd(from);
            if (attempts++ === 0) await theirs.change(to, move(1), as);
          },
        )
        .catch((error: unknown) => expect(error).toMatchObject({ code: 'shelf.moved' }));
      expect(attempts).toBeGreaterThan(1);
      expect(await partsOf(to)).toBe(1);
    });

    it('in the room that all states share', async () => {
      const room = new DecisionRoom({ cacheBytes: 20_000 });
      const shelves = inProcess(room);
      for (let n = 0; n < 20; n++) await copyOf(shelves, newId(), newId());
      expect(room.cache.bytes).toBeLessThanOrEqual(20_000);
    });
  });
}
