import { Logger, type Provider } from '@nestjs/common';
import pg from 'pg';
import { LOG_POOL } from '#lib/waylog';
import type { Config } from '#lib/platform';
import { CONFIG } from '../config.js';
import { Access } from './access.js';
import { ApiKeyCheck } from './api-key-check.js';
import { Guard } from './guard.js';
import { JsonWebTokens } from './json-web-tokens.js';

export const accessProviders: Provider[] = [
  {
    provide: Access,
    inject: [CONFIG, LOG_POOL],
    useFactory: ({ adminKey, jwt }: Config, pool: pg.Pool) => {
      const log = new Logger('Access');
      const keys = new ApiKeyCheck(pool, (message) => log.warn(message));
      const tokens = jwt && new JsonWebTokens(jwt, (message) => log.warn(message));
      return new Access({
        adminKey,
        checkKey: (text) => keys.check(text),
        checkToken: tokens && ((text) => tokens.check(text)),
        waitsForProvider: tokens && ((text) => tokens.waitsForProvider(text)),
        onKeyUse: (keyId) => keys.noteUse(keyId),
        warn: (message) => log.warn(message),
      });
    },
  },
  {
    provide: Guard,
    inject: [Access, CONFIG],
    useFactory: (access: Access, { rateLimit, recordsOrigin }: Config) =>
      new Guard(access, rateLimit, recordsOrigin),
  },
];
