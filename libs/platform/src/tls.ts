/**
 * Why a connection to this database could be intercepted, or end at a wrong server; undefined if it cannot, or does not
 * leave the machine.
 *
 * Only `sslmode=verify-full` means the same to node-postgres and to PostgreSQL's own programs. node-postgres 8 treats
 * `require` and `verify-ca` as `verify-full` too, and announces that version 9 will not; pg_dump checks nothing with
 * `require`.
 */
export function tlsWeakness(url: string): string | undefined {
  const { hostname, host, searchParams } = new URL(url);
  const place = searchParams.get('host') ?? decodeURIComponent(hostname);
  const isLocal = place === '' || place.startsWith('/') || LOOPBACK.test(place);
  const mode = searchParams.get('sslmode');
  const isVerified = mode === 'verify-full';
  if (isLocal || isVerified) return undefined;
  const name = searchParams.has('host') ? place : host;
  return mode === null || mode === 'disable'
    ? `The connection to the database at ${name} is not encrypted. Add sslmode=verify-full to its URL, and sslrootcert=FILE for a certificate authority of your own (docs/how-to/tls.md).`
    : `The connection to the database at ${name} has sslmode=${mode}, which not everything takes for a check of its certificate. Make it sslmode=verify-full (docs/how-to/tls.md).`;
}

/**
 * What is wrong with a URL of PostgreSQL that repeats a parameter; undefined if it does not. node-postgres uses the
 * last one, others use the first: with two sslmodes, the connection could differ from what was checked.
 */
export function repeatedParameter(url: string): string | undefined {
  const names = URL.canParse(url) ? [...new URL(url).searchParams.keys()] : [];
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  return (
    repeated &&
    `says ${repeated} more than once, and not everything takes the same one. Leave one of them in the URL`
  );
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/i;
