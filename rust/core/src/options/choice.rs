//! Options that are one of a few words.

/// One of a few words; in C their numbers.
#[doc(hidden)]
pub trait Choice: Copy + 'static {
    /// All of them with their words. The first is the default.
    const ALL: &'static [(Self, &'static str)];
}

macro_rules! choices {
    ($(
        $(#[doc = $about:literal])+
        $choice:ident {
            $(#[doc = $first_doc:literal])+
            $first:ident = $first_word:literal,
            $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+
        }
    )*) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $choice {
            $(#[doc = $first_doc])+
            #[default]
            $first,
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Choice for $choice {
            const ALL: &'static [($choice, &'static str)] =
                &[($choice::$first, $first_word), $(($choice::$variant, $word),)+];
        }
    )*};
}

crate::choices_table!(choices);
