import { DataSource, EntitySchema } from 'typeorm';
import { frame } from '../samples.js';
import { CONNECTIONS, type OpenWriter } from './peer.js';

interface FrameRow {
  flightId: string;
  caller: number;
  lat: number;
  lon: number;
  altitude: number;
  heading: number;
  confidence: number;
  refined: boolean;
  timestamp: string;
}

const FrameEntity = new EntitySchema<FrameRow>({
  name: 'typeorm_frames',
  columns: {
    flightId: { type: 'text', primary: true },
    caller: { type: 'integer', primary: true },
    lat: { type: 'double precision' },
    lon: { type: 'double precision' },
    altitude: { type: 'double precision' },
    heading: { type: 'double precision' },
    confidence: { type: 'double precision' },
    refined: { type: 'boolean' },
    timestamp: { type: 'timestamptz' },
  },
});

/** Repository.update(): TypeORM's fastest way to change one row by its key. */
export const typeormUpdate: OpenWriter = async (url, flights) => {
  const source = await new DataSource({
    type: 'postgres',
    url,
    entities: [FrameEntity],
    synchronize: true,
    extra: { max: CONNECTIONS },
  }).initialize();
  const rows = source.getRepository(FrameEntity);
  const values = (n: number) => {
    const { gpsCenter, altitude, heading, confidence, refined, timestamp } = frame(n);
    return { ...gpsCenter, altitude, heading, confidence, refined, timestamp };
  };
  for (const flightId of flights) {
    await rows.upsert(
      Array.from({ length: 64 }, (_, caller) => ({ flightId, caller, ...values(0) })),
      ['flightId', 'caller'],
    );
  }
  return {
    name: 'TypeORM update()',
    // As an application would: by the key of the row that this caller owns.
    write: (flightId, caller, n) => rows.update({ flightId, caller }, values(n)),
    close: () => source.destroy(),
  };
};
