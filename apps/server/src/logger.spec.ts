import { ServerLogger } from './logger.js';

describe("the server's log", () => {
  it('shows terminal control characters as escapes', () => {
    let written = '';
    const write = jest.spyOn(process.stdout, 'write').mockImplementation((text) => {
      written += String(text);
      return true;
    });
    new ServerLogger({ colors: false }).log('flight a\u009b2J\u001b[31m is parked', 'Waylog');
    write.mockRestore();
    expect(written).toContain('flight a\\u009b2J\\u001b[31m is parked');
  });
});
