//! What manifests say of each column, kept small: a snapshot may have hundreds of thousands of files.

use serde::{Deserialize, Serialize};

/// Values by field id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByField<V> {
    /// By id, each once.
    entries: Box<[(i32, V)]>,
}

impl<V> ByField<V> {
    /// The value of a field.
    pub fn get(&self, id: i32) -> Option<&V> {
        let place = self.entries.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.entries.get(place).map(|(_, value)| value)
    }

    /// All values, by field id.
    pub fn iter(&self) -> std::slice::Iter<'_, (i32, V)> {
        self.entries.iter()
    }

    /// Bytes on the heap, besides those of the values.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val::<[(i32, V)]>(&self.entries)
    }
}

impl<V> Default for ByField<V> {
    fn default() -> Self {
        Self {
            entries: Box::default(),
        }
    }
}

impl<V> FromIterator<(i32, V)> for ByField<V> {
    /// Of two values of one field the last one stays.
    fn from_iter<I: IntoIterator<Item = (i32, V)>>(values: I) -> Self {
        let mut entries: Vec<(i32, V)> = values.into_iter().collect();
        entries.sort_by_key(|(id, _)| *id);
        entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self {
            entries: entries.into_boxed_slice(),
        }
    }
}

impl<'a, V> IntoIterator for &'a ByField<V> {
    type Item = &'a (i32, V);
    type IntoIter = std::slice::Iter<'a, (i32, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_id_and_listed_in_its_order() {
        let values: ByField<u64> = [(7, 1), (2, 2), (7, 3)].into_iter().collect();
        assert_eq!(values.get(7), Some(&3));
        assert_eq!(values.get(3), None);
        assert_eq!(values.iter().collect::<Vec<_>>(), [&(2, 2), &(7, 3)]);
    }
}
