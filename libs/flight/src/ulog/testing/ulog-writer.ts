import { Rows } from '../rows.js';

/** Writes ULog files for tests: small, whole, and exactly what the test says. */
export class UlogWriter {
  readonly #chunks: Buffer[] = [];
  readonly #layouts = new Map<number, readonly (readonly [type: string, name: string])[]>();

  /** `start` is the log's beginning in microseconds since boot. */
  constructor(start = 0) {
    const header = Buffer.from('554c6f67011235010000000000000000', 'hex');
    header.writeBigUInt64LE(BigInt(start), 8);
    this.#chunks.push(header);
  }

  /** Any message: its type letter and its bytes. */
  message(type: string, body: Buffer): this {
    const head = Buffer.alloc(3);
    head.writeUInt16LE(body.length);
    head.write(type, 2);
    this.#chunks.push(head, body);
    return this;
  }

  info(key: string, value: string): this {
    const name = Buffer.from(`char[${value.length}] ${key}`);
    return this.message('I', Buffer.concat([Buffer.from([name.length]), name, Buffer.from(value)]));
  }

  /** An information that is a number. */
  number(type: string, key: string, value: number): this {
    const name = Buffer.from(`${type} ${key}`);
    return this.message('I', Buffer.concat([Buffer.from([name.length]), name, encoded(type, value)]));
  }

  console(text: string): this {
    const name = Buffer.from(`char[${text.length}] boot_console_output`);
    return this.message('M', Buffer.concat([Buffer.from([0, name.length]), name, Buffer.from(text)]));
  }

  /** Defines a topic by its fields, `double lat;double lon`, and subscribes to it. */
  topic(id: number, name: string, fields: string, instance = 0): this {
    const all = `uint64_t timestamp;${fields}`
      .split(';')
      .map((field) => field.split(' ') as [string, string]);
    this.#layouts.set(id, all);
    this.message('F', Buffer.from(`${name}:uint64_t timestamp;${fields};`));
    const body = Buffer.alloc(3);
    body.writeUInt8(instance);
    body.writeUInt16LE(id, 1);
    return this.message('A', Buffer.concat([body, Buffer.from(name)]));
  }

  /** A message of a topic: values in the order of its fields, arrays one after another. */
  data(id: number, time: number, ...values: number[]): this {
    const id2 = Buffer.alloc(2);
    id2.writeUInt16LE(id);
    const queue = [time, ...values];
    const fields = (this.#layouts.get(id) ?? []).flatMap(([type]) => {
      const [, base = type, count = '1'] = /^(\w+)\[(\d+)\]$/.exec(type) ?? [];
      return Array.from({ length: Number(count) }, () => encoded(base, queue.shift() ?? 0));
    });
    return this.message('D', Buffer.concat([id2, ...fields]));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

function encoded(type: string, value: number): Buffer {
  const view = new DataView(new ArrayBuffer(8));
  switch (type) {
    case 'uint64_t':
      view.setBigUint64(0, BigInt(Math.round(value)), true);
      return Buffer.from(view.buffer);
    case 'double':
      view.setFloat64(0, value, true);
      return Buffer.from(view.buffer);
    case 'float':
      view.setFloat32(0, value, true);
      return Buffer.from(view.buffer, 0, 4);
    case 'int32_t':
      view.setInt32(0, value, true);
      return Buffer.from(view.buffer, 0, 4);
    case 'uint16_t':
      view.setUint16(0, value, true);
      return Buffer.from(view.buffer, 0, 2);
    default:
      view.setUint8(0, value);
      return Buffer.from(view.buffer, 0, 1);
  }
}

/** Rows as a log would give them: the type of each field, and a record per row with its `timestamp`. */
export function rowsOf(
  topic: string,
  types: Readonly<Record<string, string>>,
  records: readonly Readonly<Record<string, number>>[],
  instance = 0,
): Rows {
  const rows = new Rows(topic, instance, new Map(Object.entries(types)));
  for (const record of records) rows.push(record['timestamp'] ?? NaN, (field) => record[field] ?? NaN);
  return rows;
}
