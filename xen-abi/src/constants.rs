//! Families of constants: each constant by itself, and a table of the family by C name.

/// One constant of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Name in the C headers, or the C expression that yields it.
    pub c_name: &'static str,
    /// Value, sign-extended to 64 bits.
    pub value: u64,
}

/// The C name of the first constant of `family` with this value.
#[must_use]
pub fn name_of(family: &[Constant], value: u64) -> Option<&'static str> {
    family.iter().find(|constant| constant.value == value).map(|constant| constant.c_name)
}

/// Declares a family: `TABLE: type;` then `NAME = value, "C name";` for each constant.
macro_rules! constants {
    (
        $(#[$table_doc:meta])* $table:ident: $type:ty;
        $($(#[$doc:meta])* $name:ident = $value:expr, $c_name:literal;)*
    ) => {
        $(#[$table_doc])*
        pub const $table: &[$crate::constants::Constant] =
            &[$($crate::constants::Constant { c_name: $c_name, value: $name as u64 }),*];
        $(
            $(#[$doc])*
            #[doc = concat!("\n\nC: `", $c_name, "`.")]
            pub const $name: $type = $value;
        )*
    };
}

pub(crate) use constants;
