import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });

/** A certificate authority in a folder; returns the path of its certificate. */
export function makeAuthority(folder: string, name: string): string {
  const [key, certificate] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)];
  openssl(
    ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`],
    ...['-keyout', key, '-out', certificate, '-addext', 'basicConstraints=critical,CA:TRUE'],
  );
  return certificate;
}

/** A server's certificate for these names only, such as `DNS:localhost`, by an authority of `makeAuthority`. */
export function makeCertificate(
  folder: string,
  authority: string,
  names: string,
): { readonly key: string; readonly certificate: string } {
  const [key, request, certificate, extensions] = ['key', 'csr', 'crt', 'ext'].map((end) =>
    join(folder, `server.${end}`),
  ) as [string, string, string, string];
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=server', '-keyout', key, '-out', request);
  writeFileSync(extensions, `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n`);
  const by = join(folder, authority);
  openssl(
    ...['x509', '-req', '-days', '2', '-in', request, '-CA', `${by}.crt`, '-CAkey', `${by}.key`],
    ...['-CAcreateserial', '-out', certificate, '-extfile', extensions],
  );
  return { key, certificate };
}
