import { Category, deciderOf, type RecordedEvent } from '#lib/event-store';
import { at, deadline, off } from './deadline.js';
import { reactor } from './reactor.js';
import { StreamCommand } from './command.js';
import type { StreamType } from './stream-type.js';

type TaskEvent =
  | { readonly type: 'Claimed'; readonly data: { readonly until: string } }
  | { readonly type: 'Done' | 'Erased'; readonly data: Record<string, never> };
const taskStream: StreamType<object, TaskEvent> = {
  category: new Category('task'),
  key: 'taskId',
  decider: deciderOf<object, TaskEvent>({ version: 1, initialState: () => ({}), evolve: (task) => task }),
  eventTypes: new Set(['Claimed', 'Done', 'Erased']),
  events: { erasedBy: ['Erased'] },
};
class Expire extends StreamCommand {
  readonly taskId!: string;
}
const lease = deadline('lease', taskStream, { version: 1, send: ({ id }) => new Expire({ taskId: id }) })
  .on('Claimed', ({ data }) => at(data.until))
  .on('Done', () => off());
const table = lease.projection('queue');
const fold = (type: string, data: object, streamId = 'task-t1') =>
  table.fold({ streamId, revision: 3, type, data } as RecordedEvent);

describe('a deadline', () => {
  it('is a table of what is set', () => {
    expect(fold('Claimed', { until: '2030-01-01T00:00:00+01:00' })).toEqual([
      {
        kind: 'upsert',
        row: { id: 't1', key: '', due_at: '2029-12-31T23:00:00.000Z', set_by: 3, details: {} },
      },
    ]);
    expect(fold('Done', {})).toEqual([{ kind: 'remove', key: { id: 't1', key: '' } }]);
    expect(fold('Claimed', { until: '2030-01-01T00:00:00Z' }, 'other-t1')).toEqual([]);
  });

  it('is off when the thing is erased: what its command is told can be personal', () => {
    expect(fold('Erased', {})).toEqual([{ kind: 'removeWhere', where: { id: 't1' } }]);
  });

  it.each(['now', '-infinity', 'soon', '0044-03-15 00:00:00+00 BC', undefined, 5])(
    'is set to no %p',
    (until) => {
      expect(() => fold('Claimed', { until })).toThrow('The deadline lease is set to');
    },
  );

  it('makes the same command of the same event', () => {
    const due = { id: 't1', key: '', dueAt: '2030-01-01T00:00:00.000Z', setBy: 3, details: {} };
    const { commandId, actor, taskId } = lease.commandFor(due) as Expire;
    expect({ actor, taskId }).toEqual({ actor: 'deadline:lease', taskId: 't1' });
    expect(lease.commandFor(due).commandId).toBe(commandId);
    expect(lease.commandFor({ ...due, setBy: 4 }).commandId).not.toBe(commandId);
  });
});

describe('the name of a reactor', () => {
  it.each(['event-bus', 'webhook-erp', 'Big', 'a_b', ''])('is not %p', (name) => {
    expect(() => reactor(name, { version: 1 })).toThrow();
  });
});
