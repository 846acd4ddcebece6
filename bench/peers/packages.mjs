// Runs from here, not from dist/: these packages are installed beside it, for the benchmarks alone.
export * as dcb from '@dcb-es/event-store';
export * as dcbPostgres from '@dcb-es/event-store-postgres';
export * as emmettPostgres from '@event-driven-io/emmett-postgresql';
export { default as pg } from 'pg';
export { from as copyFrom } from 'pg-copy-streams';
