//! Objects: members in the order they came, each name once.

use std::collections::HashMap;
use std::fmt;

use crate::Value;

/// Up to this many members a search from the start is faster than a hash, and most objects are smaller.
const SMALL: usize = 16;

/// A JSON object. Member names are unique; members keep their order, which equality ignores.
#[derive(Clone, Default)]
pub struct Object {
    members: Vec<(String, Value)>,
    /// Positions by name, kept while there are more than [`SMALL`] members; only ever looked up, never iterated.
    #[expect(clippy::box_collection, reason = "keeps `Value` small; few objects have an index")]
    index: Option<Box<HashMap<String, usize>>>,
}

impl Object {
    /// An object without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the member `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(self.position(name)?).map(|(_, value)| value)
    }

    /// The value of the member `name`, to be changed in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let position = self.position(name)?;
        self.members.get_mut(position).map(|(_, value)| value)
    }

    /// Whether there is a member `name`.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Sets the member `name`, in its place if it exists, else at the end; returns the old value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        if let Some(old) = self.get_mut(&name) {
            return Some(std::mem::replace(old, value));
        }
        self.push(name, value);
        None
    }

    /// Adds a member unless its name is taken; then the name comes back.
    pub(crate) fn insert_new(&mut self, name: String, value: Value) -> Result<(), String> {
        if self.contains_key(&name) {
            return Err(name);
        }
        self.push(name, value);
        Ok(())
    }

    /// Takes the member `name` out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let position = self.position(name)?;
        let (_, value) = self.members.remove(position);
        self.reindex();
        Some(value)
    }

    /// Keeps the members that `keep` accepts, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        let before = self.members.len();
        self.members.retain_mut(|(name, value)| keep(name, value));
        if self.members.len() != before {
            self.reindex();
        }
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members in their order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.members.iter())
    }

    /// The members in their order, values to be changed in place.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        IterMut(self.members.iter_mut())
    }

    /// The names in their order.
    #[must_use]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    /// The values in their order.
    #[must_use]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator {
        self.members.iter().map(|(_, value)| value)
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.members.iter().position(|(own, _)| own == name),
        }
    }

    fn push(&mut self, name: String, value: Value) {
        if let Some(index) = &mut self.index {
            index.insert(name.clone(), self.members.len());
        }
        self.members.push((name, value));
        if self.index.is_none() && self.members.len() > SMALL {
            self.reindex();
        }
    }

    fn reindex(&mut self) {
        self.index = (self.members.len() > SMALL).then(|| {
            let positions = self.members.iter().enumerate();
            Box::new(positions.map(|(position, (name, _))| (name.clone(), position)).collect())
        });
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Object {}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(members: I) -> Self {
        let mut object = Self::new();
        object.extend(members);
        object
    }
}

impl<N: Into<String>, V: Into<Value>> Extend<(N, V)> for Object {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, members: I) {
        for (name, value) in members {
            self.insert(name, value);
        }
    }
}

/// Members in their order.
#[derive(Debug, Clone)]
pub struct Iter<'a>(std::slice::Iter<'a, (String, Value)>);

/// Members in their order, values to be changed in place.
#[derive(Debug)]
pub struct IterMut<'a>(std::slice::IterMut<'a, (String, Value)>);

/// Members in their order, by value.
#[derive(Debug)]
pub struct IntoIter(std::vec::IntoIter<(String, Value)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(name, value)| (name.as_str(), value))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> Iterator for IterMut<'a> {
    type Item = (&'a str, &'a mut Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name.as_str(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl Iterator for IntoIter {
    type Item = (String, Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for IntoIter {}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a str, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Object {
    type Item = (&'a str, &'a mut Value);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        IntoIter(self.members.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object;

    #[test]
    fn members_keep_their_order_and_are_found_past_the_small_size() {
        let mut object = Object::new();
        for i in 0..100_i64 {
            assert_eq!(object.insert(format!("k{i}"), i), None);
        }
        assert_eq!(object.insert("k50", "new"), Some(Value::from(50_i64)));
        assert_eq!(object.remove("k0"), Some(Value::from(0_i64)));
        assert_eq!(object.remove("k0"), None);
        assert_eq!(object.len(), 99);
        assert_eq!(object.keys().next(), Some("k1"));
        assert_eq!(object.get("k50"), Some(&Value::from("new")));
        for i in 1..90_i64 {
            assert!(object.remove(&format!("k{i}")).is_some());
        }
        let left: Vec<_> = object.keys().collect();
        assert_eq!(left, ["k90", "k91", "k92", "k93", "k94", "k95", "k96", "k97", "k98", "k99"]);
        assert_eq!(object.get("k99"), Some(&Value::from(99_i64)));
    }

    #[test]
    fn retain_keeps_the_index_right() {
        let mut object: Object = (0..40_i64).map(|i| (format!("k{i}"), Value::from(i))).collect();
        object.retain(|_, value| value.as_i64().is_some_and(|i| i % 2 == 0));
        assert_eq!(object.len(), 20);
        assert_eq!(object.get("k38"), Some(&Value::from(38_i64)));
        assert_eq!(object.get("k39"), None);
    }

    #[test]
    fn equality_ignores_order() {
        assert_eq!(object! { "a" => 1_i64, "b" => true }, object! { "b" => true, "a" => 1_i64 });
        assert_ne!(object! { "a" => 1_i64 }, object! { "a" => 1_i64, "b" => true });
        assert_ne!(object! { "a" => 1_i64 }, object! { "a" => 2_i64 });
    }
}
