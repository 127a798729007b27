//! Names as numbers: each kept once, counted, and its number given to another when nobody uses it any more.

use imbl::{OrdMap, Vector};

/// Numbers for values. A clone shares what is equal.
#[derive(Debug, Clone)]
pub(crate) struct Interner<T: Ord> {
    numbers: OrdMap<T, u32>,
    /// By number; what is free keeps its last value until the number is given away again.
    values: Vector<T>,
    uses: Vector<u32>,
    free: Vector<u32>,
}

impl<T: Ord + Clone> Interner<T> {
    pub(crate) fn new() -> Self {
        Self { numbers: OrdMap::new(), values: Vector::new(), uses: Vector::new(), free: Vector::new() }
    }

    /// The number of a value, if it has one.
    pub(crate) fn number(&self, value: &T) -> Option<u32> {
        self.numbers.get(value).copied()
    }
    /// The value of a number that was given and not freed.
    pub(crate) fn value(&self, number: u32) -> Option<&T> {
        self.values.get(index(number))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The number of a value, with one use more; a new one where it has none. None if there are no more numbers.
    pub(crate) fn take(&mut self, value: &T) -> Option<u32> {
        if let Some(number) = self.number(value) {
            if let Some(uses) = self.uses.get_mut(index(number)) {
                *uses = uses.saturating_add(1);
            }
            return Some(number);
        }
        let number = if let Some(number) = self.free.pop_back() {
            self.values.set(index(number), value.clone());
            self.uses.set(index(number), 1);
            number
        } else {
            let number = u32::try_from(self.values.len()).ok().filter(|number| *number < LAST)?;
            self.values.push_back(value.clone());
            self.uses.push_back(1);
            number
        };
        self.numbers.insert(value.clone(), number);
        Some(number)
    }

    /// One use less; the last one frees the number, and its value comes back.
    pub(crate) fn give(&mut self, number: u32) -> Option<T> {
        let uses = self.uses.get_mut(index(number))?;
        *uses = uses.saturating_sub(1);
        if *uses > 0 {
            return None;
        }
        self.free.push_back(number);
        let value = self.values.get(index(number))?;
        self.numbers.remove(value);
        Some(value.clone())
    }
}

/// Numbers from here on mean something else to those who keep them.
pub(crate) const LAST: u32 = u32::MAX - 16;

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_freed_with_its_last_use_and_given_again() {
        let mut names: Interner<&str> = Interner::new();
        let (a, b) = (names.take(&"a").unwrap(), names.take(&"b").unwrap());
        assert_eq!(names.take(&"a"), Some(a));
        names.give(a);
        assert_eq!(names.number(&"a"), Some(a), "it has another use");
        let before = names.clone();
        names.give(a);
        assert_eq!((names.number(&"a"), before.number(&"a")), (None, Some(a)));
        assert_eq!(names.take(&"c"), Some(a));
        assert_eq!((names.value(a), before.value(a), names.value(b)), (Some(&"c"), Some(&"a"), Some(&"b")));
        for i in 0..1000 {
            let name: &'static str = if i % 2 == 0 { "x" } else { "y" };
            let number = names.take(&name).unwrap();
            names.give(number);
        }
        assert!(names.values.len() <= 3, "churn keeps no numbers");
    }
}
