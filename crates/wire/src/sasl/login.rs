//! LOGIN (draft-murchison-sasl-login): the login name, then the password.
//!
//! Deviation: the draft knows no initial response, Outlook sends the login name as one.

use super::{Failure, SaslAsk, Secret, Step, read};

/// The first challenge; clients look at its order, not at its words.
pub(super) const USERNAME: &[u8] = b"Username:";
const PASSWORD: &[u8] = b"Password:";

/// The server side.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// Set once the client has said it.
    login: Option<String>,
}

impl Server {
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        let Some(text) = read(message) else { return Step::Failed(Failure::Malformed) };
        match self.login.take() {
            None => {
                self.login = Some(text);
                Step::Challenge(PASSWORD.to_vec())
            }
            Some(login) => Step::Ask(SaslAsk::Password { authzid: None, login, password: Secret::new(text) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism};
    use super::*;

    #[test]
    fn the_name_comes_first_then_the_password() {
        let want = || Step::Ask(SaslAsk::Password { authzid: None, login: "ann".to_owned(), password: Secret::new("pw") });
        let mut asked = Exchange::new(Mechanism::Login, "", None);
        assert_eq!(asked.start(None), Step::Challenge(USERNAME.to_vec()));
        assert_eq!(asked.step(b"ann"), Step::Challenge(PASSWORD.to_vec()));
        assert_eq!(asked.step(b"pw"), want());
        let mut given = Exchange::new(Mechanism::Login, "", None);
        assert_eq!(given.start(Some(b"ann")), Step::Challenge(PASSWORD.to_vec()));
        assert_eq!(given.step(b"pw"), want());
    }

    #[test]
    fn nothing_is_no_name() {
        assert_eq!(Server::default().step(b""), Step::Failed(Failure::Malformed));
    }
}
