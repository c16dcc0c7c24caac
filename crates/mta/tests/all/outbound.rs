//! What our accounts may send: limits at RCPT, and the hold on mail that is unlike the account.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test: its purpose is to fail")]

use crate::context::{self, NOW};
use mail::{AccountId, Address, Domain, Recipient, ReversePath, Role as MailboxRole, Uid};
use mta::receive::{Context, Receiver};
use mta::{Settings, outbound, queue};
use smtp::Reply;
use smtp::server::{Answer, Ask, MailCommand, Role};
use std::sync::Arc;
use store::auth::Credentials;
use store::{NewAccount, SendingLimits, Store};
use wire::Handler;

const ANN: AccountId = AccountId(1);

/// ann and the postmaster of ours.example.
fn store() -> Store {
    let store = Store::memory();
    let made = store.write_blocking(|tx| {
        tx.domain_add(&Domain::parse("ours.example").unwrap(), NOW)?;
        for address in ["ann@ours.example", "postmaster@ours.example"] {
            let address = Address::parse(address).unwrap();
            tx.account_create(NewAccount { name: String::new(), address, credentials: Credentials::none(), quota_octets_max: None }, NOW)?;
        }
        Ok(())
    });
    made.unwrap();
    store
}

fn context(store: &Store, change: impl FnOnce(&mut outbound::Outbound)) -> Arc<Context> {
    let mut settings = Settings::new(Domain::parse("mx.ours.example").unwrap());
    change(&mut settings.outbound);
    Arc::new(context::of(store, settings))
}

/// Submits one message of ann's to so many strangers; what each RCPT and the end heard.
async fn submit(context: &Arc<Context>, recipients: std::ops::Range<u32>) -> (Vec<u16>, Option<Reply>) {
    let mut receiver = Receiver::new(Arc::clone(context), Role::Submission, "192.0.2.7".parse().unwrap());
    receiver.answer(Ask::Connect).await;
    receiver.answer(Ask::Helo { name: "client.example".into(), esmtp: true, tls: None }).await;
    receiver.answer(Ask::Authenticated { account: ANN.0, login: "ann@ours.example".into() }).await;
    let mail = MailCommand::new(ReversePath(Some(Address::parse("ann@ours.example").unwrap())));
    receiver.answer(Ask::Mail(mail)).await;
    let mut codes = Vec::new();
    for number in recipients {
        let recipient = Recipient::new(Address::parse(&format!("user{number}@far.example")).unwrap());
        let Answer::Reply(reply) = receiver.answer(Ask::Rcpt(recipient)).await else { panic!("no reply") };
        codes.push(reply.code);
    }
    if !codes.contains(&250) {
        return (codes, None);
    }
    let last = b"From: ann@ours.example\r\nSubject: x\r\n\r\nHi\r\n".to_vec();
    let Answer::Reply(reply) = receiver.answer(Ask::Data { last }).await else { panic!("no reply") };
    (codes, Some(reply))
}

fn held(store: &Store) -> Vec<bool> {
    store.read_blocking(|tx| Ok(tx.queue_all(mail::ReceiptId(0), 100)?.iter().map(|message| message.held).collect())).unwrap()
}

/// Subjects in an inbox.
fn inbox(store: &Store, account: u32) -> Vec<String> {
    let read = store.read_blocking(move |tx| {
        let inbox = tx.mailbox_by_role(AccountId(account), MailboxRole::Inbox)?.unwrap();
        let messages = tx.messages(AccountId(account), inbox.id, Uid(1), Uid(u32::MAX), 100)?;
        messages.iter().map(|message| tx.blob_read(&message.blob, 0, usize::MAX)).collect::<store::Result<Vec<_>>>()
    });
    read.unwrap().iter().filter_map(|octets| mail::header::value(octets, "Subject")).map(|value| value.trim().to_owned()).collect()
}

#[tokio::test]
async fn what_is_too_much_is_put_off_and_limits_may_be_an_accounts_own() {
    let store = store();
    let context = context(&store, |outbound| outbound.recipients_per_hour = 5);
    let (codes, reply) = submit(&context, 0..3).await;
    assert_eq!((codes, reply.unwrap().code), (vec![250; 3], 250));
    let (codes, reply) = submit(&context, 3..6).await;
    assert_eq!((codes, reply.unwrap().code), (vec![250, 250, 450], 250), "the others go");
    assert_eq!(submit(&context, 6..7).await, (vec![450], None));
    let few = self::context(&store, |outbound| outbound.messages_per_hour = 3);
    assert_eq!(submit(&few, 0..1).await.0, [250], "the third");
    assert_eq!(submit(&few, 0..1).await, (vec![450], None), "whomever it is for");
    let own = SendingLimits { recipients_per_hour: Some(0), ..SendingLimits::default() };
    store.write_blocking(move |tx| tx.sending_set(ANN, &store::Sending { limits: own, ..store::Sending::default() })).unwrap();
    assert_eq!(submit(&context, 6..9).await.0, [250; 3]);
    let strangers = self::context(&store, |outbound| outbound.strangers_per_day = 9);
    assert_eq!(submit(&strangers, 0..11).await.0, [vec![250; 9], vec![450, 450]].concat(), "one more, and those she knows");
}

#[tokio::test]
async fn unusual_mail_is_held_and_told_of_and_goes_once_it_is_released() {
    let store = store();
    let context = context(&store, |_| ());
    submit(&context, 0..2).await;
    let (codes, reply) = submit(&context, 2..200).await;
    assert_eq!((codes.len(), reply.unwrap().code), (198, 250), "nothing is refused");
    submit(&context, 0..1).await;
    assert_eq!(held(&store), [false, true, true]);
    for account in [1, 2] {
        assert_eq!(inbox(&store, account), ["Mail of ann@ours.example is held"], "{account}");
    }
    let released = store.write_blocking(|tx| outbound::release(tx, ANN, NOW)).unwrap();
    assert_eq!((released, held(&store)), (2, vec![false; 3]));
    submit(&context, 300..500).await;
    assert_eq!((held(&store), inbox(&store, 2).len()), (vec![false; 4], 1), "approved for a week");
}

/// What somebody else keeps back stays: that is not the guard's to let go.
#[tokio::test]
async fn a_release_is_of_what_the_guard_holds_and_of_nothing_else() {
    let store = store();
    let context = context(&store, |_| ());
    submit(&context, 0..200).await;
    for _ in 0..3 {
        submit(&context, 0..1).await;
    }
    assert_eq!(held(&store), vec![true; 4]);
    let all = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 9)).unwrap();
    let receipts: Vec<_> = all.iter().map(|message| message.receipt).collect();
    let change = move |tx: &mut store::WriteTx| {
        // The first one an administrator looked at, let go, and holds now by hand; the third is what a rule is about.
        queue::admin::release(tx, receipts[0], NOW)?;
        queue::admin::hold(tx, receipts[0], NOW)?;
        let mut third = tx.queue_message(receipts[2])?.unwrap();
        third.recipients[0].recipient.address = Address::parse("user@elsewhere.example").unwrap();
        tx.queue_put(&third)?;
        let rule = store::HoldRule {
            number: 0,
            account: None,
            sender: None,
            recipient: Some("elsewhere.example".into()),
            created: NOW,
            why: String::new(),
        };
        tx.hold_rule_add(&rule)?;
        outbound::release(tx, ANN, NOW)
    };
    assert_eq!((store.write_blocking(change).unwrap(), held(&store)), (2, vec![true, false, true, false]));
    let third = store.read_blocking(|tx| tx.queue_all(mail::ReceiptId(0), 9)).unwrap().swap_remove(2);
    assert_eq!(third.held_by, Some(1));
}
