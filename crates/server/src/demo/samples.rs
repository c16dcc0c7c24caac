//! The sample mail: some thirty invented letters, the longest part of the demo and the least of it.
//!
//! All names and addresses are invented; domains are reserved ones (RFC 2606, RFC 6761).

use super::mail_box::{Folder, Head, Place};

/// A PNG of one pixel.
const PIXEL: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1f, 0x15, 0xc4, 0x89, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63,
    0x60, 0x60, 0x60, 0xf8, 0x0f, 0x00, 0x01, 0x04, 0x01, 0x00, 0x5f, 0xe5, 0xc3, 0x4b, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44,
    0xae, 0x42, 0x60, 0x82,
];

const LIST: &str = "List-Id: Core developers <core.lists.example>\r\nList-Post: <mailto:core@lists.example>\r\nPrecedence: list\r\n";

const NEWSLETTER: &str =
    "List-Unsubscribe: <https://news.example/u/1>, <mailto:leave@news.example>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";

/// Writes the letters of an account.
pub(super) fn write(local: &str, folder: &mut Folder) {
    if local == "ann" {
        thread(folder);
        list_thread(folder);
        work(folder);
        machines(folder);
        family(folder);
        own(folder);
        junk(folder);
    } else {
        of_bob(folder);
    }
}

fn head<'a>(from: &'a str, subject: &'a str, hours: i64, id: &'a str) -> Head<'a> {
    Head { from, subject, hours, id, ..Head::default() }
}

fn thread(folder: &mut Folder) {
    let maya = "Maya Okafor <maya@harbour.example>";
    let ann = "Ann Archer <ann@demo.test>";
    let re = "Re: Boat for the second weekend of May?";
    folder.plain(Place::Answered, head(maya, "Boat for the second weekend of May?", 76, "boat-1"), "Hi Ann,\n\nthe blue one is free from Friday at noon until Sunday evening. Four berths, and the engine has been seen to.\n\nShall I hold it for you?\n\nMaya");
    folder.plain(
        Place::Sent,
        Head { to: maya, answers: &["boat-1"], ..head(ann, re, 74, "boat-2") },
        "Yes please! There will be four of us, Bob too.\n\n> Shall I hold it for you?",
    );
    folder.plain(Place::Read, Head { answers: &["boat-1", "boat-2"], ..head(maya, re, 51, "boat-3") }, "Held. The deposit is 120, payable on the quay.\n\nIf the wind stays where it is you will want the second reef. I put the charts into the cabin.");
    folder.plain(
        Place::Unread,
        Head { answers: &["boat-1", "boat-2", "boat-3"], ..head("Bob Bäcker <bob@demo.test>", re, 3, "boat-4") },
        "I can drive on Friday. Somebody else must cook, though: you all remember the risotto.\n\nBob",
    );
}

fn list_thread(folder: &mut Folder) {
    let to = "core@lists.example";
    let on = |from, subject, hours, id, answers| Head { to, more: LIST, answers, ..head(from, subject, hours, id) };
    let subject = "[core] Retry schedule: why four hours?";
    folder.plain(Place::Read, on("Oluwaseun Adeyemi <seun@dev.example>", subject, 30, "retry-1", &[]), "Everybody ends at four hours between attempts. RFC 5321 says at least 30 minutes and 4 to 5 days in all, and no more.\n\nDoes anyone have figures?");
    folder.plain(Place::Read, on("Lena Vogt <lena@mx.example>", "Re: [core] Retry schedule: why four hours?", 28, "retry-2", &["retry-1"]), "From a month of our queue: of what was not delivered at once, 61% went out within 15 minutes (greylisting), 30% more within two hours. After a day it is a wrong address nine times out of ten.\n\nSo short waits first, and it hardly matters how long the last ones are.");
    folder.plain(
        Place::Unread,
        on("Oluwaseun Adeyemi <seun@dev.example>", "Re: [core] Retry schedule: why four hours?", 5, "retry-3", &["retry-1", "retry-2"]),
        "That settles it for me, thanks. I will put your numbers into the documentation, if I may.",
    );
}

fn work(folder: &mut Folder) {
    let csv = b"month,messages,refused\n2026-08,41822,3120\n2026-09,43977,2988\n2026-10,47103,3301\n";
    folder.with_file(
        Place::Flagged,
        head("Priya Raman <priya@ledger.example>", "Figures for the third quarter", 26, "figures"),
        "Hello Ann,\n\nthe table is attached. The jump in October is the new newsletter.\n\nCould you look at it before Thursday?\n\nPriya",
        ("figures-q3.csv", "text/csv; charset=utf-8", csv),
    );
    folder.with_file(
        Place::Read,
        head("Tomás Ibáñez <tomas@studio.example>", "El logotipo, versión 3", 98, "logo"),
        "Hola Ann:\n\nva la tercera versión, con el azul que pediste. ¿Qué te parece?\n\nUn saludo,\nTomás",
        ("logotipo-versión-3.png", "image/png", PIXEL),
    );
    folder.alternative(
        Place::Unread,
        head("Jun Watanabe <jun@tsubame.example>", "打ち合わせの件（火曜日）", 8, "meeting"),
        "アンさん\n\n火曜日の打ち合わせは十時からでお願いします。場所はいつもの会議室です。\n\n渡辺 純",
        "<p>アンさん</p><p>火曜日の打ち合わせは<b>十時</b>からでお願いします。場所はいつもの会議室です。</p><p>渡辺 純</p>",
    );
    let invitation = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//sample//demo//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:review@sample.demo.test\r\nDTSTAMP:20261101T090000Z\r\nDTSTART:20261201T140000Z\r\nDTEND:20261201T143000Z\r\nSUMMARY:Review of the queue\r\nORGANIZER:mailto:priya@ledger.example\r\nATTENDEE:mailto:ann@demo.test\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    folder.with_file(
        Place::Unread,
        head("Priya Raman <priya@ledger.example>", "Invitation: Review of the queue", 20, "invitation"),
        "Half an hour, the first of December at 14:00 UTC.",
        ("invite.ics", "text/calendar; method=REQUEST; charset=utf-8", invitation.as_bytes()),
    );
    folder.plain(
        Place::Archived,
        head("Facilities <facilities@office.example>", "The lift is out of order until Wednesday", 400, "lift"),
        "Please take the stairs. The goods lift is for goods.",
    );
}

fn machines(folder: &mut Folder) {
    folder.plain(
        Place::Read,
        Head {
            more: "Auto-Submitted: auto-generated\r\n",
            ..head("Backup <backup@vault.example>", "[ok] nightly backup of vault-2", 14, "backup-1")
        },
        "vault-2: 184.2 GiB in 1,204,331 files, 2.1 GiB new, 38 minutes.\nverified: 100%",
    );
    folder.plain(
        Place::Flagged,
        Head {
            more: "Auto-Submitted: auto-generated\r\nX-Priority: 1\r\nImportance: high\r\n",
            ..head("Backup <backup@vault.example>", "[FAILED] nightly backup of vault-1", 13, "backup-2")
        },
        "vault-1: no space left on /srv/backup (0 B of 2.0 TiB).\nThe last good backup is 26 hours old.",
    );
    folder.plain(
        Place::Read,
        head("Forge <noreply@forge.example>", "[postcards] Build 418 passed", 33, "build"),
        "main at 7d1c20e: 1,204 tests, 0 failures, 41 s",
    );
    folder.alternative(Place::Read, head("Book shop <orders@books.example>", "Your order 20-7731 is on its way", 60, "order"), "One parcel, arriving on Friday:\n\n1 x The Sea, the Sea\n1 x Tide Tables 2027\n\nTotal 31.40", "<h1>Your order is on its way</h1><table><tr><td>1 ×</td><td>The Sea, the Sea</td></tr><tr><td>1 ×</td><td>Tide Tables 2027</td></tr></table><p>Total <b>31.40</b></p>");
    folder.alternative(Place::Unread, Head { more: NEWSLETTER, ..head("The Weekly Knot <knot@news.example>", "Knots this week: the alpine butterfly", 45, "knot") }, "A loop in the middle of a rope that holds in three directions.\n\n1. Wrap the rope around your hand three times.\n2. Take the middle turn over the others and back under them.\n3. Pull.\n\nYou get this because you asked for it. To leave: https://news.example/u/1", "<h2>The alpine butterfly</h2><p>A loop in the middle of a rope that holds in three directions.</p><ol><li>Wrap the rope around your hand three times.</li><li>Take the middle turn over the others and back under them.</li><li>Pull.</li></ol><p><small><a href=\"https://news.example/u/1\">Leave</a></small></p>");
    folder.plain(
        Place::Archived,
        head("Registry <billing@registry.example>", "Invoice 2026-1184 for demo.test", 700, "invoice"),
        "Renewal for one year: 12.00. Paid, thank you.",
    );
}

fn family(folder: &mut Folder) {
    folder.plain(
        Place::Read,
        head("Großmutter <elisabeth@familie.example>", "Grüße aus Tübingen 🌻", 120, "tuebingen"),
        "Liebe Ann,\n\nder Apfelbaum trägt dieses Jahr wie noch nie. Komm, bevor die Wespen alles haben!\n\nHerzlich\nDeine Oma",
    );
    folder.plain(
        Place::Answered,
        head("Дмитрий Орлов <dmitri@roof.example>", "Ключи от дачи", 200, "keys"),
        "Аня, привет!\n\nКлючи у соседки, зелёная калитка. Печку не топи, трубу ещё не чистили.\n\nДима",
    );
    folder.plain(
        Place::Unread,
        head("Noor Haddad <noor@garden.example>", "صور من الحديقة", 10, "garden"),
        "مرحبا آن،\n\nالورد الأبيض تفتح هذا الصباح. سأرسل الصور مساء.\n\nنور",
    );
    folder.plain(
        Place::Read,
        head("Bob Bäcker <bob@demo.test>", "Shopping", 2, "shopping"),
        "Bread is on me. We need:\n\n- lemons\n- the good olive oil\n- string (see knots)\n\nB.",
    );
}

fn own(folder: &mut Folder) {
    let ann = "Ann Archer <ann@demo.test>";
    folder.plain(
        Place::Sent,
        Head {
            to: "Дмитрий Орлов <dmitri@roof.example>", answers: &["keys"], ..head(ann, "Re: Ключи от дачи", 198, "keys-2")
        },
        "Спасибо! Печку не трону.",
    );
    folder.plain(
        Place::Sent,
        Head { to: "Priya Raman <priya@ledger.example>", ..head(ann, "Thursday", 24, "thursday") },
        "I will have read it by Wednesday evening.\n\nAnn",
    );
    folder.plain(
        Place::Draft,
        Head { to: "Tomás Ibáñez <tomas@studio.example>", answers: &["logo"], ..head(ann, "Re: El logotipo, versión 3", 1, "logo-2") },
        "Hola Tomás:\n\nme gusta mucho más que la segunda. Solo una cosa:",
    );
}

fn junk(folder: &mut Folder) {
    folder.plain(
        Place::Junk,
        head("Prize Office <claim@lucky.invalid>", "You have been selected!!!", 40, "prize"),
        "Dear Winner, send only a small fee and the boat is yours.",
    );
    folder.plain(
        Place::Junk,
        head("Storage Team <no-reply@mailbox-full.invalid>", "Your mailbox is almost full", 70, "full"),
        "Confirm your password at once or lose all mail.",
    );
}

fn of_bob(folder: &mut Folder) {
    let ann = "Ann Archer <ann@demo.test>";
    folder.plain(Place::Read, head(ann, "Second weekend of May", 75, "weekend"), "Maya has the blue boat. Are you in?\n\nA.");
    folder.plain(
        Place::Sent,
        Head { to: ann, answers: &["weekend"], ..head("Bob Bäcker <bob@demo.test>", "Re: Second weekend of May", 73, "weekend-2") },
        "Always.",
    );
    folder.plain(
        Place::Sent,
        Head { to: ann, ..head("Bob Bäcker <bob@demo.test>", "Shopping", 2, "shopping") },
        "Bread is on me. We need:\n\n- lemons\n- the good olive oil\n- string (see knots)\n\nB.",
    );
    folder.plain(
        Place::Read,
        head("Mill <orders@mill.example>", "Rye flour, 25 kg: ready for you", 90, "flour"),
        "Open until six, Saturdays until noon.",
    );
    folder.plain(
        Place::Unread,
        head("Guild of bakers <office@guild.example>", "Élections du bureau : votre bulletin", 18, "guild"),
        "Cher Bob,\n\nle vote est ouvert jusqu'à vendredi minuit. Cinq sièges, huit candidats.\n\nLe bureau",
    );
    folder.plain(
        Place::Flagged,
        head("Landlord <house@rent.example>", "Meter reading", 50, "meter"),
        "Please send me the reading of the gas meter by the end of the month.",
    );
    folder.alternative(
        Place::Read,
        Head { more: NEWSLETTER, ..head("Crumb <hello@crumb.example>", "Why your crust is soft", 66, "crust") },
        "Steam early, none late: open the door after fifteen minutes.",
        "<p>Steam early, <em>none late</em>: open the door after fifteen minutes.</p>",
    );
    folder.with_file(
        Place::Read,
        head("Lena Vogt <lena@mx.example>", "Photo of the oven", 150, "oven"),
        "As promised. It is small.",
        ("oven.png", "image/png", PIXEL),
    );
    folder.plain(
        Place::Archived,
        head("Town hall <post@town.example>", "Market stall: permit granted", 900, "permit"),
        "Stall 14, Saturdays, from 7 to 13.",
    );
    folder.plain(
        Place::Draft,
        Head {
            to: "Landlord <house@rent.example>",
            answers: &["meter"],
            ..head("Bob Bäcker <bob@demo.test>", "Re: Meter reading", 4, "meter-2")
        },
        "Good morning,\n\nthe reading is",
    );
}
