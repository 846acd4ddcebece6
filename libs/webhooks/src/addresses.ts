import { BlockList, isIP } from 'node:net';

/**
 * What is not for everybody to reach, of IPv4: IANA's special-purpose registry, multicast, and what is reserved. Of IPv6 only
 * 2000::/3 is in public use: the rest is refused as a whole.
 */
const NOT_PUBLIC = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
  // Within 2000::/3: protocols (Teredo, ORCHID), documentation, and 6to4, which has an IPv4 address in it.
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
];

/** Networks in the form of CIDR, such as `10.1.0.0/16`, `fd00::/8` or a single address. */
export class Networks {
  readonly #list = new BlockList();

  /** Throws for a text that is no network; see `badNetwork`. */
  constructor(cidrs: readonly string[]) {
    for (const cidr of cidrs) {
      const [address = '', bits] = cidr.split('/');
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      this.#list.addSubnet(address, Number(bits ?? (family === 'ipv6' ? 128 : 32)), family);
    }
  }

  get isEmpty(): boolean {
    return this.#list.rules.length === 0;
  }

  has(address: string): boolean {
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && this.#list.check(plain, family === 6 ? 'ipv6' : 'ipv4');
  }
}

const notPublic = new Networks(NOT_PUBLIC);
const publicIpv6 = new Networks(['2000::/3']);

/** Whether an address is one of the public internet. What is no address is none. */
export function isPublic(address: string): boolean {
  const plain = plainAddress(address);
  return isIP(plain) !== 0 && !notPublic.has(plain) && (isIP(plain) === 4 || publicIpv6.has(plain));
}

/** An IPv6 address that stands for one of IPv4 (`::ffff:7f00:1`) as that one; without brackets and zone. */
function plainAddress(text: string): string {
  const address = text.replace(/^\[|\]$/g, '').replace(/%.*$/, '');
  if (isIP(address) !== 6) return address;
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical) ?? [];
  if (high === undefined || low === undefined) return canonical;
  const [a, b] = [parseInt(high, 16), parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join('.');
}

/** Whether a webhook may connect to an address: to any that is public, with TLS, and to what the operator allows. */
export const mayConnect = (address: string, isEncrypted: boolean, allowed: Networks): boolean =>
  allowed.has(address) || (isEncrypted && isPublic(address));

/**
 * What is wrong with the URL of a webhook; undefined if nothing is. What its name stands for is seen when it is connected
 * to, each time.
 */
export function badUrl(text: string, allowed: Networks): string | undefined {
  if (!URL.canParse(text)) return 'is no URL';
  // A URL ignores them; whoever is shown it does not.
  if (/[\s\p{Cc}]/u.test(text)) return 'has spaces or line breaks in it';
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must begin with https://';
  // No address at all could be connected to.
  if (url.protocol === 'http:' && allowed.isEmpty)
    return 'must begin with https://; http:// is only for networks of your own, which WAYLOG_WEBHOOK_NETWORKS names';
  if (url.username || url.password)
    return 'has a user or a password in it: deliveries are signed instead, and an address is shown to people';
  const { hostname } = url;
  const isAddress = isIP(hostname.replace(/^\[|\]$/g, '')) !== 0;
  if (isAddress && !mayConnect(hostname, url.protocol === 'https:', allowed)) return refusal(hostname);
  return undefined;
}

/** Why an address is not connected to, and what to do. */
export const refusal = (host: string): string =>
  `${host} is no public address that is reached with https://. Networks of your own are named in WAYLOG_WEBHOOK_NETWORKS`;
