//! Everything that is on disk, in one table: the key spaces, their keys and the format version.
//!
//! Keys are ordered octets: numbers are big-endian, so that a scan meets them in their order.
//! Values of the model are postcard, append-only. The number of a space is in the log: it is never
//! changed and never used again.
//!
//! What this is not: the files around it (`log::segment`, `body`) state their own layouts.

/// The version of keys and values this program writes; older stores are brought up at open.
pub const FORMAT: u32 = 1;

macro_rules! spaces {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $table:literal;)*) => {
        /// One ordered map of keys to values: a table of the index.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Space { $($(#[$doc])* $name,)* }

        impl Space {
            /// Every space, in the order of [`Space::slot`].
            pub const ALL: &'static [Space] = &[$(Space::$name,)*];

            /// The number in the log; never changed.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Space::$name => $number,)* }
            }

            /// The space with this number, if this program knows it.
            #[must_use]
            pub const fn by_number(number: u8) -> Option<Space> {
                match number { $($number => Some(Space::$name),)* _ => None }
            }

            /// The name of the SQLite table and of the space in reports.
            #[must_use]
            pub const fn table(self) -> &'static str {
                match self { $(Space::$name => $table,)* }
            }
        }
    };
}

impl Space {
    /// The place in [`Space::ALL`].
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }
}

spaces! {
    // The engine's.
    /// name → value of the store as a whole: `format` (u32, big-endian).
    Meta = 0, "meta";
    /// blob hash (32) → where it is, its lengths, how many refer to it (`body::BlobRow`).
    Blob = 1, "blob";
    /// segment number (8) → live body octets in it (8). Derived by the engine, never in the log.
    Segment = 2, "segment";
    // The model's, from 16 on.
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_tables_are_unique_and_read_back() {
        let numbers: BTreeSet<u8> = Space::ALL.iter().map(|space| space.number()).collect();
        let tables: BTreeSet<&str> = Space::ALL.iter().map(|space| space.table()).collect();
        assert_eq!((numbers.len(), tables.len()), (Space::ALL.len(), Space::ALL.len()));
        for (slot, space) in Space::ALL.iter().enumerate() {
            assert_eq!((space.slot(), Space::by_number(space.number())), (slot, Some(*space)));
        }
    }
}
