import { eventually } from '../../../../test/support/eventually.js';
import { SyntaxFault } from './expanded-size.js';
import { startWorker, StatementSizes } from './statement-sizes.js';

// The thread runs the build of `npm test`.
describe('sizes of statements', () => {
  const sizes = new StatementSizes();
  afterAll(() => sizes.close());

  it('are computed in the order of the requests', async () => {
    const done: number[] = [];
    const all = [3, 1, 2].map((terms) =>
      sizes
        .of(
          `select ${Array(terms * 100)
            .fill('x')
            .join(' + ')}`,
          'a',
        )
        .then((size) => done.push(size)),
    );
    await Promise.all(all);
    expect(done[0]).toBeGreaterThan(done[2] ?? Infinity);
    expect(done[2]).toBeGreaterThan(done[1] ?? Infinity);
  });

  it('report what is wrong with a statement, and where', async () => {
    await expect(sizes.of('select from where', 'a')).rejects.toThrow(SyntaxFault);
    await expect(sizes.of('select from where', 'a')).rejects.toMatchObject({ position: 13 });
  });

  it('are infinite for statements that take too long to parse, while this process does other work', async () => {
    // PostgreSQL's scanner puts back all but one of these signs, each time.
    const quadratic = `select ${'+'.repeat(19_900)}`;
    const short = new StatementSizes(20);
    let turns = 0;
    let isDone = false;
    const others = () => {
      turns++;
      if (!isDone) setImmediate(others);
    };
    setImmediate(others);
    expect(await short.of(quadratic, 'a')).toBe(Infinity);
    isDone = true;
    expect(turns).toBeGreaterThan(3);
    await short.close();
  });

  it('are computed again after one that took too long', async () => {
    const short = new StatementSizes(200);
    expect(await short.of(`select ${'+'.repeat(19_900)}`, 'a')).toBe(Infinity);
    await eventually(async () => (await short.of('select 1', 'a')) < 10);
    await short.close();
  });

  it('are computed for callers in turn, and last for those whose statement took too long', async () => {
    const short = new StatementSizes(200);
    const quadratic = `select ${'+'.repeat(19_900)}`;
    const done: string[] = [];
    const ask = (caller: string, sql: string) => short.of(sql, caller).then(() => done.push(caller));
    await ask('a', quadratic);
    const all = [ask('b', 'select 1'), ask('a', quadratic), ask('b', 'select 1'), ask('c', 'select 1')];
    await Promise.all(all);
    expect(done).toEqual(['a', 'b', 'c', 'b', 'a']);
    await short.close();
  });

  it('wait for no start of a thread after one that was ended: another one stands by', async () => {
    let isHeld = false;
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const short = new StatementSizes(200, async () => {
      if (isHeld) await held;
      return startWorker();
    });
    expect(await short.of('select 1', 'a')).toBeLessThan(10);
    isHeld = true;
    expect(await short.of(`select ${'+'.repeat(19_900)}`, 'a')).toBe(Infinity);
    expect(await short.of('select 1', 'b')).toBeLessThan(10);
    // Its caller waits for the next one; others do not.
    const last = short.of('select 1', 'a').then(() => 'last');
    expect(await short.of('select 1', 'b')).toBeLessThan(10);
    expect(await Promise.race([last, Promise.resolve('waits')])).toBe('waits');
    release();
    expect(await last).toBe('last');
    await short.close();
  });

  it('are not computed for a caller that has disconnected', async () => {
    const gone = new AbortController();
    const first = sizes.of('select 1', 'a');
    const second = expect(sizes.of('select 2', 'b', gone.signal)).rejects.toThrow('gone');
    gone.abort(new Error('gone'));
    expect(await first).toBeLessThan(10);
    await second;
  });
});
