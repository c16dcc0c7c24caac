//! Links: where they lead, and what they say where they lead.
//!
//! Not a reader of HTML: it looks for `href`, `<img` and styles that hide, as spam writes them.
//!
//! Invariant: time linear in the text; at most as many links as asked for.

/// A link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The host it leads to, in lower case.
    pub host: String,
    /// The host that its text shows, if it shows one.
    pub shown: Option<String>,
    /// Something stands before an `@` in front of the host.
    pub has_user: bool,
}

/// What was found in HTML.
pub(crate) struct Found {
    pub(crate) links: Vec<Link>,
    pub(crate) images: usize,
    pub(crate) has_hidden_text: bool,
}

/// Longest text of a link that is looked at, octets.
const SHOWN_OCTETS_MAX: usize = 500;

/// Links, pictures and tricks of HTML.
pub(crate) fn of_html(html: &str, max: usize) -> Found {
    let lower = html.to_ascii_lowercase();
    let mut links = Vec::new();
    for piece in lower.split("<a").skip(1).filter(|piece| piece.starts_with(char::is_whitespace)) {
        if links.len() >= max {
            break;
        }
        links.extend(anchor(piece));
    }
    let images = lower.matches("<img").count();
    let hiding = ["font-size:0", "font-size: 0", "display:none", "display: none", "visibility:hidden", "visibility: hidden"];
    Found { links, images, has_hidden_text: hiding.iter().any(|style| lower.contains(style)) }
}

/// A link from what follows `<a`.
fn anchor(piece: &str) -> Option<Link> {
    let (tag, rest) = piece.split_once('>')?;
    let value = tag.split_once("href")?.1.trim_start().strip_prefix('=')?.trim_start();
    let target = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.split_whitespace().next()?,
    };
    let (host, has_user) = host_of(target.trim())?;
    let text = rest.split("</a").next().unwrap_or_default();
    let cut = (0..=SHOWN_OCTETS_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let seen = mail::text::strip_html(text.get(..cut).unwrap_or_default());
    Some(Link { host, shown: shown(seen.trim()), has_user })
}

/// The host that a text is the name of: `example.org`, or an address under it.
fn shown(text: &str) -> Option<String> {
    if text.contains(char::is_whitespace) || text.contains('@') {
        return None;
    }
    match host_of(text) {
        Some((host, _)) => Some(host),
        None => is_name(text.split('/').next()?).then(|| text.split('/').next().unwrap_or_default().to_owned()),
    }
}

/// Two labels and more, the last one of letters.
fn is_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let known = ["com", "org", "net", "edu", "gov", "info", "biz", "io"].contains(&last) || (last.len() == 2 && text.starts_with("www."));
    known
        && text.contains('.')
        && text.split('.').all(|label| !label.is_empty())
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
}

/// Links of plain text.
pub(crate) fn of_text(text: &str, max: usize) -> Vec<Link> {
    let lower = text.to_ascii_lowercase();
    let urls = lower.match_indices("http").filter_map(|(at, _)| lower.get(at..));
    let urls = urls.map(|rest| rest.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"')).next().unwrap_or_default());
    urls.filter_map(host_of).map(|(host, has_user)| Link { host, shown: None, has_user }).take(max).collect()
}

/// The host of an http address, and whether a user stands before it.
fn host_of(url: &str) -> Option<(String, bool)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let host = if host.starts_with('[') { host.split(']').next()? } else { host.split(':').next()? };
    let host: String = host.trim_start_matches('[').trim_end_matches('.').chars().take(255).collect();
    (!host.is_empty()).then_some((host, user.is_some()))
}

impl Link {
    /// The host is a number and no name.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok() || self.host.bytes().all(|octet| octet.is_ascii_digit())
    }

    /// Its text shows one site, and it leads to another.
    #[must_use]
    pub fn misleads(&self) -> bool {
        self.shown.as_deref().is_some_and(|shown| site(shown) != site(&self.host))
    }
}

/// The last two labels, or three where the last two are short: crude, but it needs no list.
fn site(host: &str) -> String {
    let labels: Vec<&str> = host.rsplit('.').take(3).collect();
    let short = labels.iter().take(2).all(|label| label.len() <= 3);
    let kept = if short { 3 } else { 2 };
    labels.into_iter().take(kept).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_tell_where_they_lead_and_what_they_show() {
        let check = |html: &str, want: &str| {
            let told = |link: &Link| {
                let misleads = if link.misleads() { " misleads" } else { "" };
                let marks = if link.has_user { " user" } else { "" }.to_owned() + if link.is_numeric() { " number" } else { "" };
                format!("{}{misleads}{marks}", link.host)
            };
            assert_eq!(of_html(html, 10).links.iter().map(told).collect::<Vec<_>>().join(", "), want, "{html}");
        };
        check("<a href=\"https://example.org/x\">here</a>", "example.org");
        check("<A HREF='http://evil.example/'>https://bank.com/login</A>", "evil.example misleads");
        check("<a class=x href=http://www.bank.com/>bank.com</a>", "www.bank.com");
        check("<a href=\"http://track.bank.co.uk/1\"><b>www.bank.co.uk</b></a>", "track.bank.co.uk");
        check("<a href=\"http://bank.com@192.0.2.1/\">x</a>", "192.0.2.1 user number");
        check("<a href=\"mailto:a@b.example\">a@b.example</a><abbr href=x>", "");
        check("<a href", "");
        check("<a href=\"http://[2001:db8::1]:80/\">Price 3.50</a>", "2001:db8::1 number");
    }

    #[test]
    fn links_of_text_are_found() {
        let hosts: Vec<String> =
            of_text("see HTTP://A.example/x, ftp://no.example and <https://b.example>", 10).into_iter().map(|link| link.host).collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        assert_eq!(of_text(&"http://a.example ".repeat(50), 10).len(), 10);
    }
}
