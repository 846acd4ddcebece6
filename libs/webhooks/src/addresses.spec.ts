import { badUrl, isPublic, Networks } from './addresses.js';

describe('the addresses that webhooks reach', () => {
  it.each([
    '127.0.0.1',
    '127.255.255.254',
    '0.0.0.0',
    '10.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '192.0.0.8',
    '192.0.2.1',
    '198.18.0.1',
    '198.51.100.1',
    '203.0.113.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '[::1]',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '0:0:0:0:0:ffff:10.0.0.1',
    '::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '3fff::1',
    'fc00::1',
    'fd12:3456::1',
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    'ff02::1',
    'localhost',
    '',
  ])('are not public: %s', (address) => {
    expect(isPublic(address)).toBe(false);
  });

  it.each([
    '1.1.1.1',
    '172.32.0.1',
    '100.128.0.1',
    '223.255.255.254',
    '::ffff:1.1.1.1',
    '2606:4700::1111',
    '2a00::1',
  ])('are public: %s', (address) => {
    expect(isPublic(address)).toBe(true);
  });

  const allowed = new Networks(['10.1.0.0/16', 'fd00::/8', '127.0.0.1']);

  it.each(['10.1.255.255', '::ffff:10.1.0.1', 'fd00::1', '127.0.0.1'])('are allowed: %s', (address) => {
    expect(allowed.has(address)).toBe(true);
  });

  it.each(['10.2.0.0', '127.0.0.2', '::ffff:10.2.0.1', 'fe80::1', 'localhost'])(
    'are not allowed: %s',
    (address) => {
      expect(allowed.has(address)).toBe(false);
    },
  );

  it.each([
    ['https://receiver.example/waylog?a=b', undefined],
    // Its addresses are seen when it is connected to.
    ['http://receiver.example/', undefined],
    ['http://10.1.2.3:8080/', undefined],
    ['https://1.1.1.1/', undefined],
    ['http://1.1.1.1/', /is no public address that is reached with https/],
    ['https://10.2.0.1/', /WAYLOG_WEBHOOK_NETWORKS/],
    // As browsers and Node read them.
    ['https://2130706434/', /127.0.0.2/],
    ['https://0x7f.2/', /127.0.0.2/],
    ['https://[::ffff:127.0.0.2]/', /no public address/],
    ['https://[::1]:8443/', /no public address/],
    ['https://user:secret@receiver.example/', /user or a password/],
    ['ftp://receiver.example/', /https/],
    ['receiver.example', /is no URL/],
    [' https://re\tceiver.example/\n', /spaces or line breaks/],
  ])('are named by %s: %s', (url, refused) => {
    const found = badUrl(url, allowed);
    if (refused) expect(found).toMatch(refused);
    else expect(found).toBeUndefined();
    expect(found ?? '').not.toContain('secret');
  });

  it('are only those with https:// where no network is allowed', () => {
    const none = new Networks([]);
    expect(badUrl('http://receiver.example/', none)).toMatch(
      /must begin with https.*WAYLOG_WEBHOOK_NETWORKS/,
    );
    expect(badUrl('https://receiver.example/', none)).toBeUndefined();
  });
});
