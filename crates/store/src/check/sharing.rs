//! Grants, the entries by which they are found, and annotations.

use super::Check;
use crate::acl::{GRANTS_MAX, GrantRecord, Grantee};
use crate::change::LIST;
use crate::error::Result;
use crate::index::KeyRange;
use crate::key;
use crate::metadata::{ANNOTATION_OCTETS_MAX, ANNOTATIONS_MAX, AnnotationRecord, EntryName, ServerAnnotationRecord, annotation_octets};
use crate::schema::Space;
use mail::{AccountId, MailboxId};
use std::collections::BTreeMap;

impl Check<'_> {
    /// The grants of an account's mailboxes: to whom there is, for something, and found from there.
    pub(super) fn grants(&mut self, owner: AccountId) -> Result<()> {
        let mut count = BTreeMap::<u32, usize>::new();
        for (key, GrantRecord(rights)) in self.records::<GrantRecord>(&KeyRange::prefix(&key::account(owner)))? {
            let (Some((grantee, _)), Some(mailbox)) = (key::grantee(&key), key::number_u32(&key, 4)) else {
                self.find(Space::Grant, &key, "its key cannot be read");
                continue;
            };
            if rights.is_empty() {
                self.find(Space::Grant, &key, "gives no right");
            }
            self.grantee_exists(Space::Grant, &key, grantee);
            if grantee == Grantee::Account(owner) {
                self.find(Space::Grant, &key, "names the owner");
            }
            if !self.tx.has(Space::Share, &key::share(grantee, owner, MailboxId(mailbox)))? {
                self.find(Space::Grant, &key, "cannot be found by whom it names");
            }
            *count.entry(mailbox).or_default() += 1;
        }
        for (mailbox, grants) in count.into_iter().filter(|(_, grants)| *grants > GRANTS_MAX) {
            self.find(Space::Grant, &key::mailbox(owner, MailboxId(mailbox)), format!("the mailbox has {grants} grants"));
        }
        Ok(())
    }

    fn grantee_exists(&mut self, space: Space, key: &[u8], grantee: Grantee) {
        if let Grantee::Account(account) = grantee
            && !self.accounts.contains(&account)
        {
            self.find(space, key, format!("names account {account}, which does not exist"));
        }
    }

    /// Each entry leads to a grant.
    pub(super) fn shares(&mut self) -> Result<()> {
        for key in self.tx.keys(Space::Share, &KeyRange::all(), usize::MAX)? {
            let (Some(number), Some((owner, mailbox))) = (key::number_u32(&key, 0), key::shared(&key)) else {
                self.find(Space::Share, &key, "it cannot be read");
                continue;
            };
            let grantee = Grantee::by_number(number);
            let grants = self.records::<GrantRecord>(&KeyRange::prefix(&key::mailbox(owner, mailbox)))?;
            if !grants.iter().any(|(key, _)| key::grantee(key).is_some_and(|(named, _)| named == grantee)) {
                self.find(Space::Share, &key, "leads to a mailbox that has no such grant");
            }
        }
        for (key, ServerAnnotationRecord(value)) in self.records::<ServerAnnotationRecord>(&KeyRange::all())? {
            self.annotation_fits(Space::ServerAnnotation, &key, "/shared", key::text(&key, 0), &value);
        }
        Ok(())
    }

    /// The octets of an account's annotations, each of which is looked at.
    pub(super) fn annotations(&mut self, account: AccountId) -> Result<u64> {
        let (mut octets, mut count) = (0, BTreeMap::<Vec<u8>, usize>::new());
        for (key, AnnotationRecord(value)) in self.records::<AnnotationRecord>(&KeyRange::prefix(&key::account(account)))? {
            let (path, viewer) = (key::text(&key, 12), key::number_u32(&key, 8).unwrap_or_default());
            self.annotation_fits(Space::Annotation, &key, if viewer == 0 { "/shared" } else { "/private" }, path, &value);
            self.grantee_exists(Space::Annotation, &key, Grantee::by_number(viewer));
            if key::number_u32(&key, 4) == Some(LIST.0) && viewer != account.0 {
                self.find(Space::Annotation, &key, "annotates the server for another");
            }
            octets += annotation_octets(path.unwrap_or_default(), &value);
            *count.entry(key.get(..12).unwrap_or_default().to_vec()).or_default() += 1;
        }
        for (key, annotations) in count.into_iter().filter(|(_, annotations)| *annotations > ANNOTATIONS_MAX) {
            self.find(Space::Annotation, &key, format!("there are {annotations} annotations"));
        }
        Ok(octets)
    }

    fn annotation_fits(&mut self, space: Space, key: &[u8], scope: &str, path: Option<&str>, value: &[u8]) {
        let name = path.and_then(|path| EntryName::parse(&format!("{scope}{path}")));
        if name.is_none_or(|name| !name.is_whole()) {
            self.find(space, key, "its name is none that an annotation can have");
        }
        if value.len() > ANNOTATION_OCTETS_MAX {
            self.find(space, key, format!("it has {} octets", value.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::acl::{Grant, Grantee};
    use crate::metadata::{Annotated, EntryName};
    use crate::schema::Space;
    use crate::testing::{account_add, findings, inbox, tx, world};
    use crate::{KeyRange, Result, WriteTx};
    use mail::{AccountId, MailboxId, Rights};

    /// What is found after a change behind the model's back.
    fn found(spoil: fn(&mut WriteTx, AccountId) -> Result<()>) -> String {
        let (store, ann) = world();
        tx(&store, move |tx| {
            let bob = account_add(tx, "bob@example.org")?;
            let id = inbox(tx, ann).id;
            tx.grant_set(ann, id, Grant { grantee: Grantee::Account(bob), negative: false, rights: Rights::READ })?;
            let entry = EntryName::parse("/private/comment").unwrap();
            tx.annotate(Annotated::Mailbox(ann, id), bob, &[(entry, Some(b"x".to_vec()))])?;
            tx.account_set_administrator(bob, true)
        });
        assert_eq!(findings(&store), [""; 0]);
        tx(&store, move |tx| spoil(tx, ann));
        findings(&store).join("; ")
    }

    fn first(tx: &WriteTx, space: Space) -> Vec<u8> {
        tx.keys(space, &KeyRange::all(), 1).unwrap().remove(0)
    }

    #[test]
    fn damage_is_found() {
        type Spoil = fn(&mut WriteTx, AccountId) -> Result<()>;
        let cases: [(Spoil, &str); 7] = [
            (
                |tx, _| {
                    tx.delete(Space::Share, &first(tx, Space::Share));
                    Ok(())
                },
                "cannot be found by whom it names",
            ),
            (
                |tx, _| {
                    tx.delete(Space::Grant, &first(tx, Space::Grant));
                    Ok(())
                },
                "leads to a mailbox that has no such grant",
            ),
            (
                |tx, ann| {
                    let grant = Grant { grantee: Grantee::Anyone, negative: false, rights: Rights::READ };
                    let key = crate::key::grant(ann, MailboxId(99), grant.grantee, false);
                    tx.save(&key, &crate::acl::GrantRecord(grant.rights))
                },
                "belongs to mailbox 99, which does not exist",
            ),
            (
                |tx, ann| {
                    let key = crate::key::grant(ann, inbox(tx, ann).id, Grantee::Account(AccountId(77)), false);
                    tx.save(&key, &crate::acl::GrantRecord(Rights::NONE))
                },
                "names account 77, which does not exist",
            ),
            (
                |tx, _| {
                    tx.delete(Space::Annotation, &first(tx, Space::Annotation));
                    Ok(())
                },
                "used_octets is 9, 0 expected",
            ),
            (
                |tx, _| {
                    let key = [first(tx, Space::Annotation), b"/".to_vec()].concat();
                    tx.save(&key, &crate::metadata::AnnotationRecord(Vec::new()))
                },
                "its name is none that an annotation can have",
            ),
            (
                |tx, _| {
                    tx.put(Space::Administrator, &99_u32.to_be_bytes(), Vec::new());
                    Ok(())
                },
                "belongs to account 99, which does not exist",
            ),
        ];
        for (spoil, want) in cases {
            let found = found(spoil);
            assert!(found.contains(want), "{found:?} should say {want:?}");
        }
    }
}
