import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify';
import { includesRole, type AccessRole } from '#lib/access';
import { roleOfRoute, type NeededRole } from '#lib/rest';
import type { CommandOrigin } from '#lib/waylog';
import { forbidden, tooMany, WaylogError } from '#lib/platform';
import { sendProblem } from '../http/problem.js';
import type { Access } from './access.js';
import type { Principal } from './principal.js';
import { missing } from './refusals.js';
import { TokenBuckets } from './token-bucket.js';

/** Nothing here is for frames, for caches, or to be taken for something else than it says. */
export const securityHeaders = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
} as const;

/** Swagger UI brings its scripts along, and writes styles into its elements. */
const documentHeaders = {
  ...securityHeaders,
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
} as const;

/** The pages that a browser opens; it can send a key by HTTP Basic alone. */
const DOCUMENTS = /^\/(docs(-yaml)?|openapi\.json)(\/|\?|$)/;

/**
 * Who may call: as the route says, and `admin` where it says nothing. The documents are registered by a library: they
 * describe the API to everybody who may read.
 */
const neededRole = (request: FastifyRequest): NeededRole =>
  roleOfRoute(request) ?? (DOCUMENTS.test(request.routeOptions.url ?? '') ? 'reader' : 'admin');

/**
 * Whether HTTP Basic is taken: for the documents, for what one of them asks for, and for an address that a person has typed.
 * A browser remembers what it was told and adds it to every request, also to those that pages elsewhere have made; it says
 * which these are, and no page can change that (https://www.w3.org/TR/fetch-metadata/).
 */
function takesBasic({ url, method, headers }: FastifyRequest): boolean {
  const { 'sec-fetch-site': site, 'sec-fetch-mode': mode } = headers;
  return (
    DOCUMENTS.test(url) ||
    site === 'same-origin' ||
    (site === 'none' && mode === 'navigate' && method === 'GET')
  );
}

/**
 * The one door: says who calls before anything of a request is read but its headers, and whether he may. It is a hook of
 * Fastify because guards of Nest run after the body has been parsed.
 */
export class Guard {
  readonly #requests: TokenBuckets;

  constructor(
    private readonly access: Access,
    /** Requests a second and caller. */
    rateLimit: number,
    /** Whether events are to say where a request came from. */
    private readonly recordsOrigin: boolean,
  ) {
    this.#requests = new TokenBuckets(rateLimit);
  }

  readonly onRequest: onRequestHookHandler = (request, reply, done) => {
    void reply.headers(DOCUMENTS.test(request.url) ? documentHeaders : securityHeaders);
    const byBasic = takesBasic(request);
    // Whoever asks for what is not there must be known all the same, and may then be told so.
    const needed = request.is404 ? 'reader' : neededRole(request);
    if (needed === 'everybody') {
      done();
      return;
    }
    const enter = (principal: Principal) => {
      const no = this.#refusal(principal, needed);
      if (no) {
        refuse(reply, no, byBasic);
        return;
      }
      request.actor = principal.actor;
      if (this.recordsOrigin) request.origin = originOf(request, principal);
      done();
    };
    try {
      const found = this.access.authenticate(credentialOf(request, byBasic), request.ip);
      if (!(found instanceof Promise)) enter(found);
      else found.then(enter, (error: unknown) => refuse(reply, error, byBasic));
    } catch (error) {
      refuse(reply, error, byBasic);
    }
  };

  #refusal({ actor, role }: Principal, needed: Exclude<NeededRole, 'everybody'>): WaylogError | undefined {
    if (!this.#requests.take(actor))
      return tooMany(
        'access.too-many-requests',
        `${actor} sends more requests than WAYLOG_RATE_LIMIT allows. Wait, and send them again.`,
        this.#requests.secondsToWait(actor),
      );
    if (role === undefined)
      return forbidden(
        'access.no-role',
        `${actor} is known and has no role here. Have the provider put reader, operator or admin into the claim that WAYLOG_JWT_ROLE_CLAIM names.`,
      );
    if (!includesRole(role, needed)) return roleTooSmall(actor, role, needed);
    return undefined;
  }
}

/** What is longer than these says nothing that anybody would look for. */
const MAX_AGENT = 256;

/** Headers are read byte by byte, so that a cut at any place leaves whole characters. */
function originOf({ ip, headers }: FastifyRequest, { session }: Principal): CommandOrigin {
  const agent = headers['user-agent']?.slice(0, MAX_AGENT);
  return { address: ip, ...(agent && { agent }), ...(session !== undefined && { session }) };
}

const roleTooSmall = (actor: string, role: AccessRole, needed: AccessRole) =>
  forbidden(
    'access.role-too-small',
    `This takes the role ${needed}, and ${actor} is ${role}. Use another key.`,
    {
      role,
      needed,
    },
  );

/** What a request says who sends it. Throws `access.missing`. */
function credentialOf({ headers: { authorization = '' } }: FastifyRequest, byBasic: boolean): string {
  const [, scheme = '', value = ''] = /^(\S+) +(\S+) *$/.exec(authorization) ?? [];
  if (scheme.toLowerCase() === 'bearer') return value;
  if (byBasic && scheme.toLowerCase() === 'basic') {
    // Any user name will do; the password is the key.
    const text = Buffer.from(value, 'base64').toString();
    const password = text.slice(text.indexOf(':') + 1);
    if (password) return password;
  }
  throw missing(
    byBasic
      ? 'Send a key: `Authorization: Bearer <key>`, or in a browser any user name with the key as password.'
      : 'Send a key: `Authorization: Bearer <key>`. `waylog keys create` makes one.',
  );
}

function refuse(reply: FastifyReply, error: unknown, byBasic: boolean): void {
  if (error instanceof WaylogError && error.kind === 'unauthenticated') {
    const hint = error.code === 'access.refused' ? ', error="invalid_token"' : '';
    void reply.header(
      'www-authenticate',
      byBasic ? 'Basic realm="Waylog: any name, a key as the password"' : `Bearer realm="Waylog"${hint}`,
    );
  }
  sendProblem(reply, error);
}
