// Keeps a copy of an account with imapflow: everything the first time, then what changed since (CONDSTORE, QRESYNC).
// Usage: node mirror.mjs '{"host","port","user","password","state"}'; `state` is the file of the copy.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { ImapFlow } from 'imapflow';

const at = JSON.parse(process.argv[2]);
const copy = existsSync(at.state) ? JSON.parse(readFileSync(at.state)) : {};
const client = new ImapFlow({ host: at.host, port: at.port, secure: false, doSTARTTLS: false, qresync: true, auth: { user: at.user, pass: at.password }, logger: false });
await client.connect();
if (!client.enabled.has('QRESYNC')) throw new Error('QRESYNC was not enabled');

// Hashes as agreement.py does: LF line ends, 20 digits.
const digest = (octets) => createHash('sha256').update(Buffer.from(octets.toString('latin1').replaceAll('\r\n', '\n'), 'latin1')).digest('hex').slice(0, 20);

for (const { path } of await client.list()) {
  const known = copy[path] ?? { messages: {} };
  const vanished = ({ uid }) => { delete known.messages[uid]; };
  client.on('expunge', vanished);
  const lock = await client.getMailboxLock(path, known.modseq ? { changedSince: BigInt(known.modseq), uidValidity: BigInt(known.uidValidity) } : {});
  const { exists, highestModseq, uidValidity } = client.mailbox;
  if (exists) {
    const since = known.modseq ? { changedSince: BigInt(known.modseq) } : {};
    for await (const message of client.fetch('1:*', { uid: true, flags: true, source: true }, { uid: true, ...since })) {
      known.messages[message.uid] = { digest: digest(message.source), flags: [...message.flags] };
    }
  }
  lock.release();
  client.off('expunge', vanished);
  copy[path] = { modseq: String(highestModseq), uidValidity: String(uidValidity), messages: known.messages };
}
await client.logout();
writeFileSync(at.state, JSON.stringify(copy));
