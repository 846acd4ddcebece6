import {
  parseBasicFieldValue,
  parseFieldDefinition,
  parseMessageDefinition,
  type MessageDefinition,
} from '@foxglove/ulog';
import { UNSEEN, WaylogError } from '#lib/platform';
import { numberAt, placeOf, sizeOf, type FieldPlace } from './layout.js';
import { Rows } from './rows.js';
import type { WantedTopic } from './topics.js';

/** How many messages of a topic the log has. */
export interface TopicCount {
  readonly topic: string;
  readonly instance: number;
  readonly messages: number;
}

/** What a scan found. Times are microseconds since boot. */
export interface LogContents {
  readonly startTime: number;
  /** What the log says of the vehicle, its firmware and itself: `ver_hw`, `sys_name`, `time_ref_utc`, ... */
  readonly info: ReadonlyMap<string, string | number>;
  /** The end of the console output since the boot: what was printed last before this log began is about this log. */
  readonly console: string;
  /** Every topic that the log subscribed to. */
  readonly topics: readonly TopicCount[];
  /** The rows of the wanted topics. */
  readonly rows: readonly Rows[];
  /** What the logger itself lost, because the disk of the vehicle was too slow. */
  readonly dropouts: { readonly count: number; readonly milliseconds: number };
  /** Places where the file makes no sense, and the bytes skipped there. */
  readonly damage: { readonly places: number; readonly bytes: number };
  /** Bytes of a last message that the file ends in the middle of. */
  readonly cutOff: number;
  /** Why rows were left out although they could be read, in sentences. */
  readonly notes: readonly string[];
}

interface Subscription {
  readonly topic: string;
  readonly instance: number;
  readonly size: number | undefined;
  readonly timestamp: FieldPlace | undefined;
  readonly places: ReadonlyMap<string, FieldPlace>;
  /** Rows nearer to the one before than this many microseconds are left out. */
  readonly spacing: number;
  readonly rows: Rows | undefined;
  /** Shared by the message ids of one instance. */
  readonly tally: { messages: number };
}

const HEAD = 3;
const MAX_MESSAGE = HEAD + 0xffff;
/** Numbers kept of one log at most, 256 MB: about nine hours of a log with attitude at 100 Hz. */
const MAX_NUMBERS = 32_000_000;
const MAX_DEFINITIONS = 10_000;
/** Fields of all definitions together: one message may define thousands. PX4 defines some thousands in all. */
const MAX_FIELDS = 100_000;
/** Instances of topics: PX4 has some hundreds. */
const MAX_INSTANCES = 10_000;
const MAX_CONSOLE = 64 * 1024;
const MAX_INFO = 1_000;
/** A message this long whose end meets no other message has a damaged length. */
const LONG = 4_096;
/** PX4 pads messages to 8 bytes, and its logger may leave the padding at the end out. */
const MAX_PADDING = 8;
const SYNC = [0x2f, 0x73, 0x13, 0x20, 0x25, 0x0c, 0xbb, 0x12];

/**
 * Takes the bytes of a ULog window by window and keeps the wanted fields. A message whose type or length cannot be is
 * skipped byte by byte up to the next place where two messages follow each other, so that damage costs what it hit.
 * Every byte is looked at a bounded number of times, and memory is bounded by MAX_NUMBERS and the other limits above: what is
 * beyond them is left out.
 */
export class LogScanner {
  readonly #definitions = new Map<string, MessageDefinition>();
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #instances = new Map<string, Subscription>();
  readonly #info = new Map<string, string | number>();
  readonly #dropouts = { count: 0, milliseconds: 0 };
  readonly #damage = { places: 0, bytes: 0 };
  readonly #notes: string[] = [];
  readonly #decoder = new TextDecoder();
  #appended: number[] = [];
  #console = '';
  #cutOff = 0;
  #numbers = 0;
  #fields = 0;
  #lost = false;
  #overflowed = false;
  #begun = false;

  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(new ArrayBuffer(0));
  #last = false;

  constructor(
    private readonly wanted: Readonly<Record<string, WantedTopic>>,
    private readonly spacing: number,
  ) {}

  /** True once the numbers kept have reached their limit. */
  get done(): boolean {
    return this.#numbers >= MAX_NUMBERS;
  }

  /**
   * Handles the messages of a window that begins at the file offset `at`, and answers how many bytes it is done with:
   * the next window begins there. `last` says that the file ends with this window.
   */
  window(bytes: Uint8Array, at: number, last: boolean): number {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#last = last;
    // A message and the head of the one behind it must be in the window.
    const end = last ? bytes.length : bytes.length - MAX_MESSAGE - MAX_MESSAGE;
    let i = 0;
    while (i < end && !this.done) {
      const appended = this.#appendedWithin(at + i, i);
      if (appended !== undefined) i = appended - at;
      else if (!this.#acceptable(i)) i = this.#skip(i, end);
      else if (this.#next(i) > bytes.length) {
        this.#cutOff = bytes.length - i;
        i = bytes.length;
      } else {
        this.#lost = false;
        this.#handle(i);
        this.#begun = true;
        i = this.#next(i);
      }
    }
    return i;
  }

  contents(startTime: number): LogContents {
    if (this.done) {
      this.#notes.push(
        `more than ${MAX_NUMBERS} numbers: what comes later in the log was left out. Split the log, or lower the rate.`,
      );
    }
    const instances = [...this.#instances.values()];
    return {
      startTime,
      info: this.#info,
      console: this.#console,
      topics: instances.map(({ topic, instance, tally }) => ({
        topic: readable(topic),
        instance,
        messages: tally.messages,
      })),
      rows: instances.flatMap(({ rows }) => rows ?? []),
      dropouts: this.#dropouts,
      damage: this.#damage,
      cutOff: this.#cutOff,
      notes: this.#notes,
    };
  }

  /** Where appended data begin inside the message at hand: the logger had crashed in the middle of it. */
  #appendedWithin(offset: number, i: number): number | undefined {
    if (this.#appended.length === 0 || i + HEAD > this.#bytes.length) return undefined;
    const end = offset + HEAD + this.#size(i);
    return this.#appended.find((start) => start > offset && start < end);
  }

  #size(i: number): number {
    return this.#view.getUint16(i, true);
  }

  #type(i: number): string {
    return String.fromCharCode(this.#bytes[i + 2] ?? 0);
  }

  #next(i: number): number {
    return i + HEAD + this.#size(i);
  }

  #acceptable(i: number): boolean {
    if (i + HEAD > this.#bytes.length) return false;
    if (this.#plausible(i)) return this.#size(i) <= LONG || this.#followed(i);
    // A type of a later version of the format: to be skipped, says the specification, where its length makes sense.
    return this.#size(i) > 0 && !this.#lost && OTHER_TYPE.test(this.#type(i)) && this.#followed(i);
  }

  /** Whether another message, or the end of the file, comes right behind. */
  #followed(i: number): boolean {
    const next = this.#next(i);
    return next + HEAD > this.#bytes.length
      ? this.#last && next === this.#bytes.length
      : this.#plausible(next);
  }

  #skip(from: number, end: number): number {
    let i = from + 1;
    while (i < end && !(i + HEAD <= this.#bytes.length && this.#plausible(i) && this.#followed(i))) i++;
    if (!this.#lost) this.#damage.places += 1;
    this.#damage.bytes += i - from;
    this.#lost = true;
    return i;
  }

  /** Whether a message can begin here, by its type and its length. */
  #plausible(i: number): boolean {
    const size = this.#size(i);
    switch (this.#type(i)) {
      case 'D': // Data
        return this.#plausibleData(i, size);
      case 'S': // Synchronization
        return size === SYNC.length && SYNC.every((byte, k) => (this.#bytes[i + HEAD + k] ?? byte) === byte);
      case 'O': // Dropout
        return size === 2;
      case 'R': // RemoveLogged
        return size === 1 || size === 2;
      case 'B': // FlagBits
        return size >= 40 && size <= 64;
      case 'L': // Log
        return size >= 9 && this.#isLevel(i + HEAD);
      case 'C': // LogTagged
        return size >= 11 && this.#isLevel(i + HEAD);
      case 'A': // AddLogged
        return size > 3 && size <= 300 && this.#isText(i + HEAD + 3, size - 3);
      case 'F': // FormatDefinition
        return size > 2 && this.#isText(i + HEAD, size);
      case 'I': // Information
      case 'P': // Parameter
        return size > 1 && this.#isKey(i + HEAD, size - 1);
      case 'M': // InformationMulti
      case 'Q': // ParameterDefault
        return size > 2 && this.#isKey(i + HEAD + 1, size - 2);
      default:
        return false;
    }
  }

  /** The level of a log text: 0 to 7, as a digit. */
  #isLevel(at: number): boolean {
    const level = this.#bytes[at] ?? 0;
    return level <= 7 || (level >= 0x30 && level <= 0x37);
  }

  /** A length of at most `room` and a text behind it. */
  #isKey(at: number, room: number): boolean {
    const length = this.#bytes[at] ?? 1;
    return length > 0 && length <= room && this.#isText(at + 1, length);
  }

  /** Whether the first bytes are printable ASCII, as in names and keys; chance has it so once in fifty times. */
  #isText(at: number, length: number): boolean {
    return this.#bytes.subarray(at, at + Math.min(length, 4)).every((byte) => byte >= 0x20 && byte <= 0x7e);
  }

  #plausibleData(i: number, size: number): boolean {
    if (size < 2) return false;
    // The id is cut off: the caller finds that out by the length.
    if (i + HEAD + 2 > this.#bytes.length) return true;
    const subscription = this.#subscriptions.get(this.#view.getUint16(i + HEAD, true));
    if (!subscription) return false;
    const payload = size - 2;
    return (
      subscription.size === undefined ||
      (payload <= subscription.size && payload > subscription.size - MAX_PADDING)
    );
  }

  #handle(i: number): void {
    const start = i + HEAD;
    const size = this.#size(i);
    switch (this.#type(i)) {
      case 'D': // Data
        this.#data(start, size);
        return;
      case 'F': // FormatDefinition
        this.#definition(this.#text(start, size));
        return;
      case 'A': // AddLogged
        this.#subscribe(start, size);
        return;
      case 'I': // Information
        this.#information(start, size);
        return;
      case 'M': // InformationMulti
        this.#consoleOutput(start, size);
        return;
      case 'O': // Dropout
        this.#dropouts.count += 1;
        this.#dropouts.milliseconds += this.#view.getUint16(start, true);
        return;
      case 'B': // FlagBits
        // Only the first message: anywhere else it is damage that looks like one.
        if (!this.#begun) this.#flags(start);
        return;
      default: // Removed subscriptions, parameters, texts of the log and synchronisation are of no use here.
        return;
    }
  }

  #data(start: number, size: number): void {
    const subscription = this.#subscriptions.get(this.#view.getUint16(start, true));
    if (!subscription) return;
    subscription.tally.messages += 1;
    const { rows, timestamp, places, spacing } = subscription;
    if (!rows || !timestamp) return;
    const message = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + start + 2, size - 2);
    const time = numberAt(message, timestamp.offset, timestamp.type);
    if (Math.abs(time - rows.timeAt(rows.length - 1)) < spacing) return;
    rows.push(time, (field) => {
      const place = places.get(field);
      return place ? numberAt(message, place.offset, place.type) : NaN;
    });
    this.#numbers += rows.width;
  }

  #definition(format: string): void {
    const definition = parseMessageDefinition(format);
    if (!definition || this.#definitions.size >= MAX_DEFINITIONS) return;
    this.#fields += definition.fields.length;
    if (this.#fields <= MAX_FIELDS) this.#definitions.set(definition.name, definition);
  }

  #subscribe(start: number, size: number): void {
    const instance = this.#view.getUint8(start);
    const id = this.#view.getUint16(start + 1, true);
    const topic = this.#text(start + 3, size - 3);
    const known = this.#instances.get(`${topic} ${instance}`);
    if (!known && this.#instances.size >= MAX_INSTANCES) {
      if (!this.#overflowed)
        this.#notes.push(
          `more than ${MAX_INSTANCES} instances of topics: those that come later were left out.`,
        );
      this.#overflowed = true;
      // What has that id from here on is of another topic.
      this.#subscriptions.delete(id);
      return;
    }
    const subscription = known ?? this.#newSubscription(topic, instance);
    if (!known) this.#instances.set(`${topic} ${instance}`, subscription);
    this.#subscriptions.set(id, subscription);
  }

  #newSubscription(topic: string, instance: number): Subscription {
    const wanted = Object.hasOwn(this.wanted, topic) ? this.wanted[topic] : undefined;
    const timestamp = wanted && placeOf('timestamp', topic, this.#definitions);
    const places = new Map<string, FieldPlace>();
    for (const field of wanted?.fields ?? []) {
      const place = placeOf(`${wanted?.prefix ?? ''}${field}`, topic, this.#definitions);
      if (place) places.set(field, place);
    }
    if (wanted && !timestamp)
      this.#notes.push(
        `${topic}: the log does not define it, or not its timestamp, so it could not be read.`,
      );
    const types = new Map([...places].map(([field, { type }]) => [field, type]));
    return {
      topic,
      instance,
      size: sizeOf(topic, this.#definitions),
      timestamp,
      places,
      spacing: wanted?.everyMessage ? 0 : this.spacing,
      rows: wanted && timestamp ? new Rows(topic, instance, types) : undefined,
      tally: { messages: 0 },
    };
  }

  #information(start: number, size: number): void {
    const keyLength = this.#view.getUint8(start);
    const field = parseFieldDefinition(this.#text(start + 1, keyLength));
    if (
      !field ||
      field.isComplex ||
      (field.arrayLength !== undefined && field.type !== 'char') ||
      this.#info.size >= MAX_INFO
    )
      return;
    const at = start + 1 + keyLength;
    const length = size - 1 - keyLength;
    if (field.type === 'char') this.#info.set(field.name, readable(this.#text(at, length)));
    else {
      const value = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at, length);
      const number = numberAt(value, 0, field.type);
      if (Number.isFinite(number)) this.#info.set(field.name, Number(parseBasicFieldValue(field, value)));
    }
  }

  #consoleOutput(start: number, size: number): void {
    const keyLength = this.#view.getUint8(start + 1);
    const key = this.#text(start + 2, keyLength);
    if (!key.endsWith(' boot_console_output')) return;
    this.#console += this.#text(start + 2 + keyLength, size - 2 - keyLength);
    // Cut now and then, not with every message: a hostile log has millions of them.
    if (this.#console.length > 2 * MAX_CONSOLE) this.#console = this.#console.slice(-MAX_CONSOLE);
  }

  #flags(start: number): void {
    const incompatible = this.#bytes.subarray(start + 8, start + 16);
    if (incompatible.some((byte, i) => (i === 0 ? byte > 1 : byte !== 0))) {
      throw new WaylogError(
        'ulog.unreadable',
        'invalid',
        `Cannot read the flight log: it is marked incompatible (flags ${Buffer.from(incompatible).toString('hex')}), so a reader ` +
          'of this version of the format would misread it. The file is damaged, or from a later PX4 than this import knows.',
      );
    }
    this.#appended = [16, 24, 32]
      .map((at) => Number(this.#view.getBigUint64(start + at, true)))
      .filter((at) => at > 0);
  }

  #text(start: number, length: number): string {
    return this.#decoder.decode(this.#bytes.subarray(start, start + length));
  }
}

/** Letters that this version of the format does not use. */
const OTHER_TYPE = /[EGHJKNT-Z]/;

const UNREADABLE = new RegExp(`[${UNSEEN}\\ud800-\\udfff\\ufffd]+`, 'gu');

/** Text of the log as it may stand in a description: nothing that is not seen, 200 characters at most. */
export const readable = (text: string): string => text.replaceAll(UNREADABLE, ' ').trim().slice(0, 200);
