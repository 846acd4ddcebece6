import { isNeeded, mirrorIn, parsePackages } from './apt.js';

describe('packages that apt resolved', () => {
  const printed = [
    `'http://deb.debian.org/debian/pool/main/p/postgresql-17/postgresql-17_17.11-0%2bdeb13u1_amd64.deb' postgresql-17_17.11-0+deb13u1_amd64.deb 16678028 SHA256:${'a'.repeat(64)}`,
    `'http://deb.debian.org/debian/pool/main/libx/libxcrypt/libcrypt1_4.4.38-1_amd64.deb' libcrypt1_1%3a4.4.38-1_amd64.deb 90072 SHA256:${'b'.repeat(64)}`,
    `'http://deb.debian.org/debian/pool/main/t/tzdata/tzdata_2026c-0%2bdeb13u1_all.deb' tzdata_2026c-0+deb13u1_all.deb 264156 SHA256:${'c'.repeat(64)}`,
    'E: a line that is no package',
    '',
  ].join('\n');

  it('are read with their versions, epochs included', () => {
    expect(parsePackages(printed)).toEqual([
      { name: 'postgresql-17', version: '17.11-0+deb13u1', bytes: 16678028, sha256: 'a'.repeat(64) },
      { name: 'libcrypt1', version: '1:4.4.38-1', bytes: 90072, sha256: 'b'.repeat(64) },
      { name: 'tzdata', version: '2026c-0+deb13u1', bytes: 264156, sha256: 'c'.repeat(64) },
    ]);
  });

  it.each([
    'postgresql-17',
    'postgresql-17-timescaledb',
    'libc6',
    'libc-bin',
    'libicu76',
    'zlib1g',
    'libsystemd0',
    'libpam0g',
    'patchelf',
  ])('include %s, which the server needs', (name) => expect(isNeeded({ name })).toBe(true));

  it.each([
    'libllvm19',
    'libz3-4',
    'perl-base',
    'libperl5.40',
    'libjson-perl',
    'locales',
    'libc-l10n',
    'debconf',
    'postgresql-common',
    'tzdata',
  ])('do not include %s, which the server does not need', (name) => expect(isNeeded({ name })).toBe(false));
});

describe('the Debian mirror of the machine', () => {
  it('is found in one-line sources, despite options and other vendors', () => {
    const docker =
      'deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] https://download.docker.com/linux/debian bookworm stable';
    const debian =
      '# deb http://old.example/debian bookworm main\ndeb [signed-by=/x.gpg] http://mirror.example/debian/ bookworm main contrib # near';
    expect(mirrorIn([docker, debian])).toBe('http://mirror.example/debian');
  });

  it('is found in deb822 sources', () => {
    const sources = `Types: deb
# http://snapshot.debian.org/archive/debian/20250520T000000Z
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main`;
    expect(mirrorIn([sources])).toBe('http://deb.debian.org/debian');
  });

  it('is not a security archive, a snapshot, a source disabled, nor Ubuntu', () => {
    expect(
      mirrorIn([
        'deb http://deb.debian.org/debian-security bookworm-security main',
        'deb http://snapshot.debian.org/archive/debian/20250520T000000Z bookworm main',
        'Types: deb\nEnabled: no\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main',
        'deb http://archive.ubuntu.com/ubuntu noble main',
      ]),
    ).toBeUndefined();
  });
});
