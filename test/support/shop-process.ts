import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import { messageOf, WaylogError } from '#lib/platform';
import { WaylogModule } from '#lib/waylog';
import { Pay, Place, shop } from './shop-context.js';

// A process with a shop, that places orders and pays some of them until it is killed, and says what it was answered. `idle`
// places none, and `orders` does nothing but that:
// node dist/test/support/shop-process.js DATABASE_URL EVENT_STORE [idle|orders]

const [databaseUrl = '', eventStore, part] = process.argv.slice(2);
const app = await NestFactory.createApplicationContext(
  WaylogModule.forRoot({
    databaseUrl,
    eventStore: eventStore || undefined,
    contexts: [shop],
    poolSize: 10,
    projector: part !== 'orders',
    webhookNetworks: ['127.0.0.0/8'],
  }),
  { logger: false },
);
const commands = app.get(CommandBus);
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until it is answered: the command has an id. */
async function send(make: (commandId: string) => Place | Pay): Promise<void> {
  for (const id = uuidv7(); ;) {
    try {
      await commands.execute(make(id));
      return;
    } catch (error) {
      if (!(error instanceof WaylogError) || error.kind !== 'unavailable')
        console.log(`failed ${messageOf(error)}`);
      await wait(50);
    }
  }
}

async function goOn(): Promise<never> {
  for (;;) {
    const orderId = uuidv7();
    const payBy = new Date(Date.now() + Math.random() * 1_500).toISOString();
    await send((commandId) => new Place({ orderId, payBy, commandId }));
    console.log(`placed ${orderId} ${payBy}`);
    if (Math.random() < 0.5) {
      await wait(Math.random() * 300);
      await send((commandId) => new Pay({ orderId, commandId }));
      console.log(`paid ${orderId}`);
    }
  }
}
console.log('ready');
if (part !== 'idle') await Promise.all([goOn(), goOn()]);
