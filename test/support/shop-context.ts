import { Category, deciderOf } from '#lib/event-store';
import { conflict, IsId, IsKnownId, IsTimestamp, type Timestamp } from '#lib/platform';
import {
  at,
  context,
  deadline,
  LoggedEvent,
  off,
  reactor,
  slicesOn,
  StreamCommand,
  type StreamType,
} from '#lib/waylog';

// A shop: a paid order is packed, and one that is not paid in time expires. Its decisions do again what they are told again, so that
// whatever is done twice shows in the log.

export type OrderEvents = {
  Placed: { readonly payBy: Timestamp };
  Paid: Record<string, never>;
  Expired: { readonly payBy: Timestamp };
};
export type OrderEvent = {
  [E in keyof OrderEvents]: { readonly type: E; readonly data: OrderEvents[E] };
}[keyof OrderEvents];
interface Order {
  readonly payBy: Timestamp | undefined;
  readonly isPaid: boolean;
}

export const orderStream: StreamType<Order, OrderEvent> = {
  category: new Category('order'),
  key: 'orderId',
  decider: deciderOf<Order, OrderEvent>({
    version: 1,
    initialState: () => ({ payBy: undefined, isPaid: false }),
    evolve: (order, { type, data }) =>
      type === 'Placed'
        ? { ...order, payBy: data.payBy }
        : type === 'Paid'
          ? { ...order, isPaid: true }
          : order,
  }),
  eventTypes: new Set(['Placed', 'Paid', 'Expired']),
};
export type ParcelEvent = { readonly type: 'Packed'; readonly data: Record<string, never> };
export const parcelStream: StreamType<object, ParcelEvent> = {
  category: new Category('parcel'),
  key: 'parcelId',
  decider: deciderOf<object, ParcelEvent>({
    version: 1,
    initialState: () => ({}),
    evolve: (parcel) => parcel,
  }),
  eventTypes: new Set(['Packed']),
};

export class Place extends StreamCommand {
  @IsId() readonly orderId!: string;
  @IsTimestamp() readonly payBy!: Timestamp;
}
export class Pay extends StreamCommand {
  @IsKnownId() readonly orderId!: string;
}
export class Expire extends StreamCommand {
  @IsKnownId() readonly orderId!: string;
  @IsTimestamp() readonly payBy!: Timestamp;
}
export class Pack extends StreamCommand {
  @IsKnownId() readonly parcelId!: string;
}

const slice = slicesOn(orderStream);
const place = slice(Place, ({ payBy }) => [{ type: 'Placed', data: { payBy } }]);
const pay = slice(Pay, (_, { isPaid }) => (isPaid ? [] : [{ type: 'Paid', data: {} }]));
const expire = slice(Expire, ({ payBy }, order) => {
  if (order.isPaid) throw conflict('order.paid', 'A paid order does not expire.');
  if (order.payBy !== payBy) throw conflict('order.extended', 'There is more time to pay it.');
  return [{ type: 'Expired', data: { payBy } }];
});
const pack = slicesOn(parcelStream)(Pack, () => [{ type: 'Packed', data: {} }]);

export const packPaid = reactor('pack-paid', { version: 1 }).on(
  orderStream,
  'Paid',
  ({ of }) => new Pack({ parcelId: of }),
);
export const payment = deadline<Order, OrderEvent, { readonly payBy: Timestamp }>('payment', orderStream, {
  version: 1,
  send: ({ id, details: { payBy } }) => new Expire({ orderId: id, payBy }),
  accepts: ['order.paid', 'order.extended'],
})
  .on('Placed', ({ data: { payBy } }) => at(payBy, { details: { payBy } }))
  .on('Paid', () => off())
  .on('Expired', () => off());

export class OrderPaid extends LoggedEvent.of(orderStream, 'Paid') {}
export class OrderPlaced extends LoggedEvent.of<OrderEvents['Placed']>(orderStream, 'Placed') {}

export const shop = context('shop', {
  streams: [orderStream, parcelStream],
  commands: [place, pay, expire, pack],
  reactors: [packPaid],
  deadlines: [payment],
});
