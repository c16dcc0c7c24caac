// nodemailer submits, imapflow sees the mail arrive in IDLE, fetches, flags, moves and deletes it.
// Usage: node clients.mjs '{"host","submission","imap","ca","user","password"}'; exits 0 when all of it worked.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ImapFlow } from 'imapflow';
import nodemailer from 'nodemailer';

const at = JSON.parse(process.argv[2]);
const tls = { ca: readFileSync(at.ca), checkServerIdentity: () => undefined };

const client = new ImapFlow({ host: at.host, port: at.imap, secure: true, tls, auth: { user: at.user, pass: at.password }, logger: false });
await client.connect();
let lock = await client.getMailboxLock('INBOX');
const before = client.mailbox.exists;
const arrived = new Promise((resolve) => client.once('exists', resolve));
const idle = client.idle();

const transport = nodemailer.createTransport({
  host: at.host, port: at.submission, requireTLS: true, tls, auth: { user: at.user, pass: at.password },
});
const attachment = Buffer.alloc(200_000, 'attachment ');
await transport.sendMail({
  from: `"Ännchen" <${at.user}>`, to: at.user, subject: 'Grüße aus npm', text: 'plain', html: '<b>rich</b>',
  attachments: [{ filename: 'größe.bin', content: attachment }],
});

const news = await arrived;
assert.equal(news.count, before + 1);
await client.noop();
await idle;

const seen = await client.fetchOne('*', { envelope: true, bodyStructure: true, flags: true, uid: true });
assert.equal(seen.envelope.subject, 'Grüße aus npm');
assert.equal(seen.envelope.from[0].name, 'Ännchen');
const parts = [];
const collect = (node) => (node.childNodes ? node.childNodes.forEach(collect) : parts.push(node));
collect(seen.bodyStructure);
assert.deepEqual(parts.map((p) => p.type), ['text/plain', 'text/html', 'application/octet-stream']);
const { content } = await client.download(String(seen.uid), parts[2].part, { uid: true });
const chunks = [];
for await (const chunk of content) chunks.push(chunk);
assert.ok(Buffer.concat(chunks).equals(attachment));

assert.ok(await client.messageFlagsAdd(String(seen.uid), ['\\Flagged', '$Work'], { uid: true }));
assert.deepEqual(await client.search({ flagged: true, subject: 'Grüße' }, { uid: true }), [seen.uid]);
const moved = await client.messageMove(String(seen.uid), 'Archive', { uid: true });
assert.equal(moved.uidMap.size, 1);
lock.release();

lock = await client.getMailboxLock('Archive');
assert.equal(client.mailbox.exists, 1);
assert.ok(await client.messageDelete('1:*'));
assert.equal(client.mailbox.exists, 0);
lock.release();
const folders = await client.list();
assert.equal(folders.find((f) => f.specialUse === '\\Sent').path, 'Sent');
await client.logout();
