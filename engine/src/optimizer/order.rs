//! In which order to join: a search over numbers alone.
//!
//! Knows inputs by position and as bits of a set. Refuses to know plans and expressions.
//!
//! Dynamic programming over connected subsets finds the cheapest tree, bushy ones too, of up to [`EXACT_MAX`] inputs; above
//! that the pair that costs least is joined until one is left. Semi- and anti-joins are inputs of their own that may be
//! joined to whatever holds the columns they compare, so they move down or up as their cost says.

/// A set of inputs, by position.
pub(super) type Set = u64;
/// Most inputs of one join tree.
pub(super) const INPUTS_MAX: usize = 64;
/// Most inputs among which the best order is searched in full: 3^11 splits take some milliseconds.
const EXACT_MAX: usize = 11;

/// What a row costs that goes into a hash table, relative to a row that looks something up.
const BUILD_COST: f64 = 3.0;
/// What a row costs that comes out of a join.
const OUTPUT_COST: f64 = 0.6;

/// What is to be joined.
#[derive(Debug, Default)]
pub(super) struct Problem {
    /// The inputs.
    pub(super) inputs: Vec<Input>,
    /// Pairs of inputs that equal columns join.
    pub(super) edges: Vec<Edge>,
    /// Conditions over several inputs.
    pub(super) conditions: Vec<Condition>,
}

/// One input.
#[derive(Debug)]
pub(super) struct Input {
    /// Rows that it has.
    pub(super) rows: f64,
    /// What one of its rows takes, in bytes.
    pub(super) row_bytes: f64,
    /// If it only decides which rows of others stay.
    pub(super) semi: Option<Semi>,
}

/// A semi- or anti-join.
#[derive(Debug)]
pub(super) struct Semi {
    /// Inputs whose columns it compares.
    pub(super) needs: Set,
    /// Share of their rows that it keeps.
    pub(super) kept: f64,
}

/// Two inputs with equal columns.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) inputs: (usize, usize),
    /// Of how many combinations of rows one is a match.
    pub(super) domain: f64,
}

/// A condition over several inputs.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) needs: Set,
    /// Share of the rows that it keeps.
    pub(super) kept: f64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// An input.
    Input(usize),
    /// A join: the hash table is made of `build`.
    Join { build: Box<Tree>, probe: Box<Tree> },
}

impl Tree {
    /// The inputs of the tree.
    pub(super) fn set(&self) -> Set {
        match self {
            Self::Input(input) => 1 << input,
            Self::Join { build, probe } => build.set() | probe.set(),
        }
    }
}

/// A subset of the inputs that has been ordered.
#[derive(Clone, Debug)]
struct Part {
    set: Set,
    rows: f64,
    bytes: f64,
    cost: f64,
    tree: Tree,
}

/// The cheapest order that is found. `None` if the inputs do not hang together, or are too many.
pub(super) fn cheapest(problem: &Problem) -> Option<Tree> {
    let count = problem.inputs.len();
    if count == 0 || count > INPUTS_MAX {
        return None;
    }
    let found = if count <= EXACT_MAX {
        exact(problem)
    } else {
        greedy(problem)
    };
    found.map(|part| part.tree)
}

/// The best of all orders, by dynamic programming over subsets.
fn exact(problem: &Problem) -> Option<Part> {
    let all: Set = (1 << problem.inputs.len()) - 1;
    let mut best: Vec<Option<Part>> = vec![None; index(all) + 1];
    for set in 1..=all {
        let found = if set.is_power_of_two() {
            problem.single(set.trailing_zeros() as usize)
        } else {
            let first = set & set.wrapping_neg();
            let mut cheapest: Option<Part> = None;
            // Each split once: the part with the first input comes first.
            let mut rest = (set ^ first) & (set ^ first).wrapping_neg();
            let others = set ^ first;
            while rest != 0 {
                let (a, b) = (best.get(index(set ^ rest)), best.get(index(rest)));
                if let (Some(Some(a)), Some(Some(b))) = (a, b)
                    && let Some(joined) =
                        problem.join(a, b, cheapest.as_ref().map(|part| part.cost))
                {
                    cheapest = Some(joined);
                }
                rest = rest.wrapping_sub(others) & others;
            }
            cheapest
        };
        *best.get_mut(index(set))? = found;
    }
    best.pop().flatten()
}

/// A small set as the index of a table.
fn index(set: Set) -> usize {
    usize::try_from(set).unwrap_or(usize::MAX)
}

/// Joins the two parts whose join costs least until one is left.
fn greedy(problem: &Problem) -> Option<Part> {
    let inputs = 0..problem.inputs.len();
    let mut parts: Vec<Part> = inputs.filter_map(|input| problem.single(input)).collect();
    while parts.len() > 1 {
        let mut cheapest: Option<(usize, usize, Part, f64)> = None;
        for a in 0..parts.len() {
            for b in a + 1..parts.len() {
                let Some(joined) = problem.join(&parts[a], &parts[b], None) else {
                    continue;
                };
                let added = joined.cost - parts[a].cost - parts[b].cost + joined.rows;
                if cheapest
                    .as_ref()
                    .is_none_or(|(_, _, _, least)| added < *least)
                {
                    cheapest = Some((a, b, joined, added));
                }
            }
        }
        let (a, b, joined, _) = cheapest?;
        parts.swap_remove(b);
        parts[a] = joined;
    }
    parts.pop()
}

impl Problem {
    fn single(&self, input: usize) -> Option<Part> {
        let known = self.inputs.get(input)?;
        Some(Part {
            set: 1 << input,
            rows: known.rows,
            bytes: known.row_bytes,
            cost: 0.0,
            tree: Tree::Input(input),
        })
    }

    /// The join of two parts, if they can be joined and the join costs less than `limit`.
    fn join(&self, a: &Part, b: &Part, limit: Option<f64>) -> Option<Part> {
        let (semi_a, semi_b) = (self.semi(a), self.semi(b));
        let bytes = match (semi_a, semi_b) {
            (Some(semi), None) if semi.needs & !b.set == 0 => b.bytes,
            (None, Some(semi)) if semi.needs & !a.set == 0 => a.bytes,
            (None, None) if self.touch(a.set, b.set) => a.bytes + b.bytes,
            _ => return None,
        };
        let before = a.cost + b.cost;
        if limit.is_some_and(|limit| before >= limit) {
            return None;
        }
        let set = a.set | b.set;
        let rows = self.rows(set);
        let (build, probe) = if a.rows * a.bytes <= b.rows * b.bytes {
            (a, b)
        } else {
            (b, a)
        };
        let cost = before + build.rows * BUILD_COST + probe.rows + rows * OUTPUT_COST;
        if limit.is_some_and(|limit| cost >= limit) {
            return None;
        }
        Some(Part {
            set,
            rows,
            bytes,
            cost,
            tree: Tree::Join {
                build: Box::new(build.tree.clone()),
                probe: Box::new(probe.tree.clone()),
            },
        })
    }

    /// The semi-join that a part is, if it is nothing else.
    fn semi(&self, part: &Part) -> Option<&Semi> {
        match part.tree {
            Tree::Input(input) => self.inputs[input].semi.as_ref(),
            Tree::Join { .. } => None,
        }
    }

    fn touch(&self, a: Set, b: Set) -> bool {
        self.edges.iter().any(|edge| {
            let (x, y): (Set, Set) = (1 << edge.inputs.0, 1 << edge.inputs.1);
            x & a != 0 && y & b != 0 || x & b != 0 && y & a != 0
        })
    }

    /// Rows of the join of a set of inputs, whatever the order.
    fn rows(&self, set: Set) -> f64 {
        let mut rows = 1.0;
        for (position, input) in self.inputs.iter().enumerate() {
            if set & (1 << position) != 0 {
                rows *= input.semi.as_ref().map_or(input.rows, |semi| semi.kept);
            }
        }
        // Of the edges only those count that tell something new: the most selective tree of them.
        let mut group: [usize; INPUTS_MAX] = std::array::from_fn(|position| position);
        for edge in &self.edges {
            let (a, b) = edge.inputs;
            if set & (1 << a) == 0 || set & (1 << b) == 0 || group[a] == group[b] {
                continue;
            }
            rows /= edge.domain.max(1.0);
            let (from, to) = (group[a], group[b]);
            for member in &mut group {
                if *member == from {
                    *member = to;
                }
            }
        }
        for condition in &self.conditions {
            if condition.needs & !set == 0 {
                rows *= condition.kept;
            }
        }
        rows.max(1.0)
    }

    /// Puts the edges in the order that [`Self::rows`] needs.
    pub(super) fn sort(&mut self) {
        self.edges.sort_by(|a, b| b.domain.total_cmp(&a.domain));
    }
}

/// Some order, of which only is asked that it can be built.
#[cfg(test)]
pub(super) fn any(problem: &Problem, random: &mut impl rand::Rng) -> Option<Tree> {
    let inputs = 0..problem.inputs.len();
    let mut parts: Vec<Part> = inputs.filter_map(|input| problem.single(input)).collect();
    while parts.len() > 1 {
        let pairs: Vec<(usize, usize, Part)> = (0..parts.len())
            .flat_map(|a| (0..parts.len()).map(move |b| (a, b)))
            .filter(|(a, b)| a != b)
            .filter_map(|(a, b)| Some((a, b, problem.join(&parts[a], &parts[b], None)?)))
            .collect();
        let (a, b, mut joined) = pairs
            .get(random.random_range(0..pairs.len().max(1)))?
            .clone();
        if random.random() {
            let Tree::Join { build, probe } = joined.tree else {
                return None;
            };
            joined.tree = Tree::Join {
                build: probe,
                probe: build,
            };
        }
        parts.swap_remove(a.max(b));
        parts[a.min(b)] = joined;
    }
    parts.pop().map(|part| part.tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(rows: f64) -> Input {
        Input {
            rows,
            row_bytes: 8.0,
            semi: None,
        }
    }

    fn edge(a: usize, b: usize, domain: f64) -> Edge {
        Edge {
            inputs: (a, b),
            domain,
        }
    }

    fn shown(tree: &Tree) -> String {
        match tree {
            Tree::Input(input) => input.to_string(),
            Tree::Join { build, probe } => format!("({} {})", shown(build), shown(probe)),
        }
    }

    fn check(problem: Problem, expected: &str) {
        let mut problem = problem;
        problem.sort();
        assert_eq!(shown(&cheapest(&problem).unwrap()), expected);
    }

    #[test]
    fn the_selective_join_comes_first_and_small_sides_are_built() {
        // A fact table with a filtered and a whole dimension.
        let problem = Problem {
            inputs: vec![input(1e6), input(1e4), input(10.0)],
            edges: vec![edge(0, 1, 1e4), edge(0, 2, 1e3)],
            conditions: vec![],
        };
        check(problem, "(1 (2 0))");
    }

    #[test]
    fn a_semi_join_moves_to_the_input_that_it_compares() {
        let semi = Input {
            rows: 100.0,
            row_bytes: 8.0,
            semi: Some(Semi {
                needs: 0b10,
                kept: 1e-4,
            }),
        };
        let problem = Problem {
            inputs: vec![input(6e6), input(1.5e6), semi],
            edges: vec![edge(0, 1, 1.5e6)],
            conditions: vec![],
        };
        check(problem, "((2 1) 0)");
    }

    #[test]
    fn many_inputs_are_ordered_too() {
        for count in [2, EXACT_MAX, EXACT_MAX + 1, 40] {
            let mut problem = Problem {
                inputs: (0..count)
                    .map(|i| input(10.0 + f64::from(u8::try_from(i).unwrap())))
                    .collect(),
                edges: (1..count).map(|i| edge(i - 1, i, 10.0)).collect(),
                conditions: vec![],
            };
            problem.sort();
            let tree = cheapest(&problem).unwrap();
            assert_eq!(tree.set(), (1 << count) - 1);
        }
    }

    #[test]
    fn inputs_that_nothing_joins_have_no_order() {
        let problem = Problem {
            inputs: vec![input(1.0), input(2.0)],
            ..Problem::default()
        };
        assert_eq!(cheapest(&problem), None);
    }

    #[test]
    fn an_edge_that_follows_from_others_is_not_counted_again() {
        let mut problem = Problem {
            inputs: vec![input(100.0), input(100.0), input(100.0)],
            edges: vec![edge(0, 1, 100.0), edge(1, 2, 100.0), edge(0, 2, 100.0)],
            conditions: vec![],
        };
        problem.sort();
        assert!((problem.rows(0b111) - 100.0).abs() < 1e-9);
    }
}
