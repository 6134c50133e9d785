//! Seeded choices, for tests, simulations and generators: one number makes the same choices on every machine, so that
//! a failure is repeated from its seed alone.
//!
//! The numbers are SplitMix64's (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
//! It needs no warm-up: neighbouring seeds are unrelated from the first number on. It is of no use for keys, tokens
//! or identities, which come from [`Door::fill_random`](crate::Door::fill_random); therefore this module sits behind
//! the feature `seeded`, which no shipped crate turns on by default.
//!
//! Invariants:
//! 1. What a seed means never changes: the order in which the methods draw, and what they make of a draw, are fixed by
//!    tests, because recorded runs name nothing but their seeds.
//! 2. Each choice draws once, however wide it is and whatever its type, unless its documentation says otherwise; so a
//!    choice that is changed in one place does not move the draws after it.
//! 3. A choice among nothing draws nothing.
//!
//! Bounds are taken by remainder. The bias is below 2^-32 for bounds below 2^32, and none of the users measures it.

use std::ops::RangeInclusive;

/// The increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's output function: a bijection of 64 bits in which each input bit moves about half the output's.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A stream of choices. Equal seeds give equal streams; a clone goes on as the original would have.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream that belongs to several numbers together, in their order: a seed and the number of a thread, say.
    #[must_use]
    pub fn from_seeds(seeds: &[u64]) -> Self {
        let mut mixed = Self(0x7477_696c_6c64_6221);
        for seed in seeds {
            mixed = Self(mixed.next() ^ seed);
        }
        Self(mixed.next())
    }

    /// A stream of its own for `label`. Draws once from this one; forks of different labels at the same place are
    /// unrelated, so each part of a simulation can be given a fork and draw as often as it likes.
    #[must_use]
    pub fn fork(&mut self, label: &str) -> Self {
        // FNV-1a, so that the label's letters and their order count.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Self(mix(self.next() ^ hash))
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number from 0 and below `bound`; 0, without a draw, when there is none.
    pub fn below<N: Number>(&mut self, bound: N) -> N {
        match N::steps(N::ZERO, bound) {
            0 => N::ZERO,
            width => N::ZERO.plus(self.next() % width),
        }
    }

    /// A number of `range`, its ends included; its start when it is empty.
    pub fn range<N: Number>(&mut self, range: RangeInclusive<N>) -> N {
        let (first, last) = range.into_inner();
        let drawn = self.next();
        // All 2^64 numbers of a type are as wide as the draw itself.
        first.plus(N::steps(first, last).checked_add(1).map_or(drawn, |width| drawn % width))
    }

    /// An index of a slice so long; 0, without a draw, when it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len)
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True once in `times`; always, without a draw, when that is 0.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, copied.
    ///
    /// # Panics
    /// When there are none.
    #[expect(clippy::indexing_slicing, reason = "a choice among nothing is the caller's mistake")]
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// One of `items`; `None` when there are none.
    pub fn among<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// An index of `weights`, each as likely as its weight; 0, without a draw, when all weigh nothing.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum::<u64>());
        for (index, weight) in weights.iter().enumerate() {
            if at < *weight {
                return index;
            }
            at -= weight;
        }
        0
    }

    /// `len` bytes, one draw for each eight of them begun.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes`, one draw for each eight of them begun.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (byte, drawn) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *byte = drawn;
            }
        }
    }
}

/// A type of numbers to choose from: the standard library's integers of up to 64 bits.
pub trait Number: Copy + sealed::Sealed {
    /// 0.
    const ZERO: Self;

    /// How far `last` is above `first`; 0 when it is below.
    #[must_use]
    fn steps(first: Self, last: Self) -> u64;

    /// The number `steps` above this one, which the type must be able to hold.
    #[must_use]
    fn plus(self, steps: u64) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! number {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}

        impl Number for $integer {
            const ZERO: Self = 0;

            fn steps(first: Self, last: Self) -> u64 {
                if last < first { 0 } else { u64::try_from(last.abs_diff(first)).unwrap_or(u64::MAX) }
            }

            #[expect(clippy::allow_attributes, reason = "not every type of the macro loses something")]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                clippy::cast_sign_loss,
                reason = "two's complement: the sum is right where the type can hold it"
            )]
            fn plus(self, steps: u64) -> Self {
                self.wrapping_add(steps as Self)
            }
        }
    )*};
}

number!(u8, u16, u32, u64, usize, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut chance = Chance::from_seed(42);
        assert_eq!(chance.next(), 13_679_457_532_755_275_413);
        assert_eq!(chance.next(), 2_949_826_092_126_892_291);
        let drawn = |mut chance: Chance| {
            let mut bytes = [0; 3];
            let numbers = (chance.below(1000_u32), chance.range(-50..=50_i64));
            chance.fill(&mut bytes);
            (numbers.0, numbers.1, bytes)
        };
        assert_eq!(drawn(Chance::from_seed(1)), FROM_SEED);
        assert_eq!(drawn(Chance::from_seeds(&[1, 2])), FROM_SEEDS);
        assert_eq!(drawn(Chance::from_seed(1).fork("reader")), FORKED);
    }

    #[test]
    fn streams_of_other_seeds_and_labels_differ() {
        assert_ne!(Chance::from_seeds(&[1, 2]).next(), Chance::from_seeds(&[2, 1]).next());
        let mut one = Chance::from_seed(7);
        let mut two = one.clone();
        let (ab, ba) = (one.fork("ab").next(), two.fork("ba").next());
        assert_ne!(ab, ba);
        assert_eq!(one.next(), two.next(), "a fork draws once, whatever its label");
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut chance = Chance::from_seed(7);
        let mut met = [0; 8];
        for _ in 0..1000 {
            let number = chance.range(-3..=4_i32);
            met[usize::try_from(number + 3).unwrap()] += 1;
            assert!(chance.below(5_u8) < 5);
            assert_eq!(chance.weighted(&[0, 3, 0]), 1);
        }
        assert!(met.iter().all(|times| (60..=190).contains(times)), "{met:?}");
        assert!((0..100).any(|_| chance.range(i64::MIN..=i64::MAX) < 0));
        assert!((0..100).any(|_| chance.range(0..=u64::MAX) > u64::MAX / 2));
    }

    #[test]
    fn a_choice_among_nothing_draws_nothing() {
        let mut chance = Chance::from_seed(3);
        let mut untouched = chance.clone();
        assert_eq!((chance.below(0), chance.below(-4_i64), chance.index(0)), (0, 0, 0));
        assert_eq!((chance.among::<u8>(&[]), chance.weighted(&[0]), chance.bytes(0)), (None, 0, Vec::new()));
        assert!(chance.one_in(0));
        assert_eq!(chance.next(), untouched.next());
    }

    #[test]
    fn an_empty_range_is_its_start() {
        let (first, last) = (5, 2);
        assert_eq!(Chance::from_seed(1).range(first..=last), 5);
    }

    #[test]
    fn shares_are_about_right() {
        let mut chance = Chance::from_seed(9);
        let counted = |times: u64, of: &mut dyn FnMut() -> bool| (0..times).filter(|_| of()).count();
        assert!((2800..3200).contains(&counted(10_000, &mut || chance.percent(30))));
        assert!((1900..2100).contains(&counted(10_000, &mut || chance.one_in(5))));
        assert_eq!(counted(100, &mut || chance.percent(100)), 100);
        assert_eq!(counted(100, &mut || chance.percent(0)), 0);
    }

    const FROM_SEED: (u32, i64, [u8; 3]) = (465, -15, [94, 85, 50]);
    const FROM_SEEDS: (u32, i64, [u8; 3]) = (729, 6, [185, 182, 70]);
    const FORKED: (u32, i64, [u8; 3]) = (816, 15, [82, 79, 227]);
}
