//! A list that is nearly always short, so that a change costs no allocation.

use std::ops::Deref;

/// Up to `N` values in place; more of them on the heap.
#[derive(Debug, Clone)]
pub struct Few<T, const N: usize>(Room<T, N>);

#[derive(Debug, Clone)]
enum Room<T, const N: usize> {
    Here([T; N], usize),
    Heap(Vec<T>),
}

impl<T: Copy + Default, const N: usize> Few<T, N> {
    /// Adds a value at the end.
    pub fn push(&mut self, value: T) {
        match &mut self.0 {
            Room::Heap(values) => values.push(value),
            Room::Here(values, count) => {
                if let Some(place) = values.get_mut(*count) {
                    *place = value;
                    *count += 1;
                } else {
                    let mut moved = values.to_vec();
                    moved.push(value);
                    self.0 = Room::Heap(moved);
                }
            }
        }
    }
}

impl<T: Copy + Default, const N: usize> Default for Few<T, N> {
    fn default() -> Self {
        Self(Room::Here([T::default(); N], 0))
    }
}

impl<T, const N: usize> Deref for Few<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Room::Here(values, count) => values.get(..*count).unwrap_or_default(),
            Room::Heap(values) => values,
        }
    }
}

impl<T: Copy + Default, const N: usize> FromIterator<T> for Few<T, N> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut few = Self::default();
        for value in values {
            few.push(value);
        }
        few
    }
}

impl<T: PartialEq, const N: usize> PartialEq for Few<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for Few<T, N> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_a_vector() {
        for count in 0..10u64 {
            let few: Few<u64, 4> = (0..count).collect();
            assert_eq!(*few, *(0..count).collect::<Vec<_>>());
            assert_eq!(matches!(few.0, Room::Here(..)), count <= 4);
        }
    }
}
