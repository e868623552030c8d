//! A tree of joins taken apart into inputs, equal columns and conditions, and put together again in another order.
//!
//! Inner hash joins, the semi- and anti-joins among them, and the plain projections and filters between them. Whatever else
//! stands there is an input. Refuses to know what an order costs.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, NullEquality, Result, internal_datafusion_err};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, HashJoinExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::order::{Set, Tree};
use super::sides::{Streams, partition_mode};

/// A column of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) input: usize,
    pub(super) column: usize,
}

/// A condition whose column `i` is `places[i]`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) expr: Arc<dyn PhysicalExpr>,
    pub(super) places: Vec<Place>,
    fields: Vec<FieldRef>,
}

/// How an input that only decides which rows of others stay does so.
#[derive(Clone, Debug)]
pub(super) struct Semi {
    pub(super) is_anti: bool,
    /// Columns of others, and of the input, that are equal.
    pub(super) on: Vec<(Place, Place)>,
    pub(super) condition: Option<Condition>,
}

/// An input of the tree.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) semi: Option<Semi>,
}

/// A tree of joins, taken apart.
#[derive(Debug)]
pub(super) struct JoinGraph {
    pub(super) inputs: Vec<Input>,
    /// Pairs of equal columns of different inputs.
    pub(super) edges: Vec<(Place, Place)>,
    pub(super) conditions: Vec<Condition>,
    /// Where the columns of the tree's output come from, and their names.
    output: Vec<(Place, String)>,
    /// Schema of the output.
    schema: SchemaRef,
}

/// The join, if its rows may be found in any order together with the joins around it.
fn free_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    let join = plan.downcast_ref::<HashJoinExec>()?;
    let known = matches!(
        join.join_type(),
        JoinType::Inner
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::RightSemi
            | JoinType::RightAnti
    );
    let of_columns = join
        .on()
        .iter()
        .all(|(a, b)| a.is::<Column>() && b.is::<Column>());
    let same_each_time = join
        .filter()
        .is_none_or(|filter| !is_volatile(filter.expression()));
    let free = known
        && of_columns
        && same_each_time
        && !join.null_aware
        && join.fetch().is_none()
        && join.null_equality() == NullEquality::NullEqualsNothing;
    free.then_some(join)
}

/// The filter, if it may be asked anywhere.
fn free_filter(plan: &Arc<dyn ExecutionPlan>) -> Option<&FilterExec> {
    let filter = plan.downcast_ref::<FilterExec>()?;
    (filter.fetch().is_none() && !is_volatile(filter.predicate())).then_some(filter)
}

/// The projection, if it only picks columns.
fn free_projection(plan: &Arc<dyn ExecutionPlan>) -> Option<&ProjectionExec> {
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let picks = projection
        .expr()
        .iter()
        .all(|projected| projected.expr.is::<Column>());
    picks.then_some(projection)
}

/// Whether a join that may move stands at the top of `plan`, below plain projections and filters.
fn is_tree(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if free_join(plan).is_some() {
        return true;
    }
    let below = free_filter(plan).map(FilterExec::input);
    let below = below.or(free_projection(plan).map(ProjectionExec::input));
    below.is_some_and(is_tree)
}

impl JoinGraph {
    /// Takes the joins at the top of `plan` apart. `None` if there is none.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        if free_join(plan).is_none() {
            return Ok(None);
        }
        let mut graph = Self {
            inputs: vec![],
            edges: vec![],
            conditions: vec![],
            output: vec![],
            schema: plan.schema(),
        };
        let places = graph.take(plan)?;
        let schema = plan.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        graph.output = places.into_iter().zip(names).collect();
        graph.close();
        graph.equal_within();
        Ok(Some(graph))
    }

    /// Takes `plan` apart; tells where its columns come from.
    fn take(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Place>> {
        if let Some(join) = free_join(plan) {
            return self.take_join(join);
        }
        if is_tree(plan) {
            if let Some(projection) = free_projection(plan) {
                let below = self.take(projection.input())?;
                let columns = projection.expr().iter();
                let columns = columns.map(|projected| projected.expr.downcast_ref::<Column>());
                return columns
                    .map(|column| place(&below, column.map(Column::index)))
                    .collect();
            }
            if let Some(filter) = free_filter(plan) {
                let below = self.take(filter.input())?;
                let fields = filter.input().schema();
                for part in split_conjunction(filter.predicate()) {
                    let condition = Condition::over_columns(part, &below, &fields)?;
                    self.conditions.push(condition);
                }
                return projected(below, filter.projection().as_deref());
            }
        }
        Ok(self.add(plan, None))
    }

    fn take_join(&mut self, join: &HashJoinExec) -> Result<Vec<Place>> {
        let on = |left: &[Place], right: &[Place]| {
            let pairs = join.on().iter().map(|(a, b)| {
                let index =
                    |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(Column::index);
                Ok((place(left, index(a))?, place(right, index(b))?))
            });
            pairs.collect::<Result<Vec<_>>>()
        };
        let own = |input: usize, plan: &Arc<dyn ExecutionPlan>| {
            let columns = 0..plan.schema().fields().len();
            columns
                .map(|column| Place { input, column })
                .collect::<Vec<_>>()
        };
        let is_anti = matches!(join.join_type(), JoinType::LeftAnti | JoinType::RightAnti);
        let columns = match join.join_type() {
            JoinType::LeftSemi | JoinType::LeftAnti => {
                let left = self.take(join.left())?;
                let right = own(self.inputs.len(), join.right());
                let semi = Semi {
                    is_anti,
                    on: on(&left, &right)?,
                    condition: Condition::of_join(join, &left, &right)?,
                };
                self.add(join.right(), Some(semi));
                left
            }
            JoinType::RightSemi | JoinType::RightAnti => {
                let right = self.take(join.right())?;
                let left = own(self.inputs.len(), join.left());
                let pairs = on(&left, &right)?;
                let semi = Semi {
                    is_anti,
                    on: pairs.into_iter().map(|(own, other)| (other, own)).collect(),
                    condition: Condition::of_join(join, &left, &right)?,
                };
                self.add(join.left(), Some(semi));
                right
            }
            _ => {
                let mut left = self.take(join.left())?;
                let right = self.take(join.right())?;
                self.edges.extend(on(&left, &right)?);
                self.conditions
                    .extend(Condition::of_join(join, &left, &right)?);
                left.extend(right);
                left
            }
        };
        projected(columns, join.projection.as_deref())
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>, semi: Option<Semi>) -> Vec<Place> {
        let input = self.inputs.len();
        self.inputs.push(Input {
            plan: Arc::clone(plan),
            semi,
        });
        let columns = 0..plan.schema().fields().len();
        columns.map(|column| Place { input, column }).collect()
    }

    /// Adds the equalities that follow from others.
    fn close(&mut self) {
        let mut classes = self.classes();
        for class in &mut classes {
            class.sort_unstable();
            for (position, a) in class.iter().enumerate() {
                for b in &class[position + 1..] {
                    let pair = (*a, *b);
                    let known = self
                        .edges
                        .iter()
                        .any(|(x, y)| (*x, *y) == pair || (*y, *x) == pair);
                    if a.input != b.input && !known && self.ty(*a) == self.ty(*b) {
                        self.edges.push(pair);
                    }
                }
            }
        }
    }

    /// Adds the equalities of columns of one input that follow from others: a join compares one column of each group.
    fn equal_within(&mut self) {
        for mut class in self.classes() {
            class.sort_unstable();
            for pair in class.windows(2) {
                if let [a, b] = pair
                    && a.input == b.input
                {
                    let schema = self.inputs[a.input].plan.schema();
                    let field = |place: &Place| Arc::clone(&schema.fields()[place.column]);
                    let fields = vec![field(a), field(b)];
                    let column = |position: usize| -> Arc<dyn PhysicalExpr> {
                        Arc::new(Column::new(fields[position].name(), position))
                    };
                    let equal = BinaryExpr::new(column(0), Operator::Eq, column(1));
                    self.conditions.push(Condition {
                        expr: Arc::new(equal),
                        places: vec![*a, *b],
                        fields,
                    });
                }
            }
        }
    }

    /// Columns that are all equal.
    fn classes(&self) -> Vec<Vec<Place>> {
        let mut classes: Vec<Vec<Place>> = Vec::new();
        for (a, b) in &self.edges {
            let find = |classes: &[Vec<Place>], place: &Place| {
                classes.iter().position(|class| class.contains(place))
            };
            match (find(&classes, a), find(&classes, b)) {
                (Some(x), Some(y)) if x != y => {
                    let moved = classes.swap_remove(x.max(y));
                    classes[x.min(y)].extend(moved);
                }
                (Some(_), Some(_)) => {}
                (Some(x), None) => classes[x].push(*b),
                (None, Some(y)) => classes[y].push(*a),
                (None, None) => classes.push(vec![*a, *b]),
            }
        }
        classes
    }

    fn ty(&self, place: Place) -> DataType {
        let schema = self.inputs[place.input].plan.schema();
        schema.field(place.column).data_type().clone()
    }

    /// The joins in the order of `tree`, with the columns of the original plan.
    pub(super) fn build(&self, tree: &Tree, streams: Streams) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<Place> = self.output.iter().map(|(place, _)| *place).collect();
        let built = self.part(tree, &wanted, streams)?;
        let columns = self.output.iter().map(|(place, name)| {
            let position = built.position(*place)?;
            let field = built.plan.schema().field(position).name().clone();
            Ok(ProjectionExpr::new(
                Arc::new(Column::new(&field, position)),
                name.clone(),
            ))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let projected =
            ProjectionExec::try_new_with_schema_metadata(columns, built.plan, &self.schema)?;
        Ok(Arc::new(projected))
    }

    fn part(&self, tree: &Tree, wanted: &[Place], streams: Streams) -> Result<Part> {
        let (build, probe) = match tree {
            Tree::Input(input) => {
                let plan = Arc::clone(&self.inputs[*input].plan);
                let columns = 0..plan.schema().fields().len();
                let input = *input;
                let places = columns.map(|column| Place { input, column }).collect();
                return self.filtered(Part { plan, places }, input);
            }
            Tree::Join { build, probe } => (build.as_ref(), probe.as_ref()),
        };
        let semi = |tree: &Tree| match tree {
            Tree::Input(input) => self.inputs[*input].semi.as_ref(),
            Tree::Join { .. } => None,
        };
        let (sets, (semi_build, semi_probe)) =
            ((build.set(), probe.set()), (semi(build), semi(probe)));
        let (on, conditions, join_type) = match (semi_build, semi_probe) {
            (None, Some(semi)) => {
                let ty = if semi.is_anti {
                    JoinType::LeftAnti
                } else {
                    JoinType::LeftSemi
                };
                (semi.on.clone(), semi.condition.iter().collect(), ty)
            }
            (Some(semi), None) => {
                let ty = if semi.is_anti {
                    JoinType::RightAnti
                } else {
                    JoinType::RightSemi
                };
                let on = semi.on.iter().map(|(other, own)| (*own, *other));
                (on.collect(), semi.condition.iter().collect(), ty)
            }
            _ => (self.keys(sets), self.conditions_at(sets), JoinType::Inner),
        };
        let mut below: Vec<Place> = wanted.to_vec();
        below.extend(on.iter().flat_map(|(a, b)| [*a, *b]));
        below.extend(conditions.iter().flat_map(|condition| &condition.places));
        // What joins above compare is in `wanted` already: each adds its own.
        let left = self.part(build, &below, streams)?;
        let right = self.part(probe, &below, streams)?;
        let joined = Self::join(left, right, &on, &conditions, join_type, streams)?;
        kept(joined, wanted)
    }

    /// The equal columns that join two sets, one pair for each group of equal columns.
    fn keys(&self, (build, probe): (Set, Set)) -> Vec<(Place, Place)> {
        let classes = self.classes();
        let mut seen: Vec<usize> = Vec::new();
        let mut keys = Vec::new();
        for (a, b) in &self.edges {
            let (x, y): (Set, Set) = (1 << a.input, 1 << b.input);
            let pair = if x & build != 0 && y & probe != 0 {
                (*a, *b)
            } else if y & build != 0 && x & probe != 0 {
                (*b, *a)
            } else {
                continue;
            };
            let class = classes.iter().position(|class| class.contains(a));
            let class = class.unwrap_or(usize::MAX);
            if !seen.contains(&class) {
                seen.push(class);
                keys.push(pair);
            }
        }
        keys
    }

    /// The conditions that can be asked when two sets are joined, and not before.
    fn conditions_at(&self, (build, probe): (Set, Set)) -> Vec<&Condition> {
        let conditions = self.conditions.iter();
        conditions
            .filter(|condition| {
                let needs = condition.needs();
                needs & !(build | probe) == 0 && needs & !build != 0 && needs & !probe != 0
            })
            .collect()
    }

    /// The conditions that need no other input. What decides for others which rows stay has none.
    pub(super) fn conditions_of(&self, input: usize) -> impl Iterator<Item = &Condition> {
        let inner = self.inputs[input].semi.is_none();
        let conditions = self.conditions.iter();
        conditions.filter(move |condition| inner && condition.needs() & !(1 << input) == 0)
    }

    /// An input with its own conditions.
    fn filtered(&self, part: Part, input: usize) -> Result<Part> {
        let mut plan = Arc::clone(&part.plan);
        for condition in self.conditions_of(input) {
            let expr = condition.at(|place| part.position(place))?;
            plan = Arc::new(FilterExec::try_new(expr, plan)?);
        }
        Ok(Part { plan, ..part })
    }

    fn join(
        left: Part,
        right: Part,
        on: &[(Place, Place)],
        conditions: &[&Condition],
        join_type: JoinType,
        streams: Streams,
    ) -> Result<Part> {
        let column = |part: &Part, place: Place| -> Result<Arc<dyn PhysicalExpr>> {
            let position = part.position(place)?;
            let name = part.plan.schema().field(position).name().clone();
            Ok(Arc::new(Column::new(&name, position)))
        };
        let keys = on.iter();
        let keys = keys.map(|(a, b)| Ok((column(&left, *a)?, column(&right, *b)?)));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let filter = join_filter(conditions, &left, &right)?;
        let mode = partition_mode(&left.plan, &right.plan, streams)?;
        let (a, b) = (Arc::clone(&left.plan), Arc::clone(&right.plan));
        let join = HashJoinExecBuilder::new(a, b, keys, join_type)
            .with_filter(filter)
            .with_partition_mode(mode)
            .build()?;
        let places = match join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => left.places,
            JoinType::RightSemi | JoinType::RightAnti => right.places,
            _ => left.places.into_iter().chain(right.places).collect(),
        };
        Ok(Part {
            plan: Arc::new(join),
            places,
        })
    }
}

/// A part of the tree that is built, and where its columns come from.
struct Part {
    plan: Arc<dyn ExecutionPlan>,
    places: Vec<Place>,
}

impl Part {
    fn position(&self, place: Place) -> Result<usize> {
        let found = self.places.iter().position(|known| *known == place);
        found.ok_or_else(|| internal_datafusion_err!("column {place:?} is not there to be joined"))
    }
}

impl Condition {
    /// A condition whose columns are positions in `columns`.
    fn over_columns(
        expr: &Arc<dyn PhysicalExpr>,
        columns: &[Place],
        schema: &Schema,
    ) -> Result<Self> {
        let mut used: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        used.sort_unstable();
        let expr = renumbered(expr, |column| {
            used.iter().position(|position| *position == column)
        })?;
        let places = used.iter().map(|position| place(columns, Some(*position)));
        Ok(Self {
            expr,
            places: places.collect::<Result<_>>()?,
            fields: used
                .iter()
                .map(|p| Arc::clone(&schema.fields()[*p]))
                .collect(),
        })
    }

    fn of_join(join: &HashJoinExec, left: &[Place], right: &[Place]) -> Result<Option<Self>> {
        let Some(filter) = join.filter() else {
            return Ok(None);
        };
        let places = filter
            .column_indices()
            .iter()
            .map(|index| match index.side {
                JoinSide::Left => place(left, Some(index.index)),
                _ => place(right, Some(index.index)),
            });
        Ok(Some(Self {
            expr: Arc::clone(filter.expression()),
            places: places.collect::<Result<_>>()?,
            fields: filter.schema().fields().iter().cloned().collect(),
        }))
    }

    /// Inputs that it compares.
    pub(super) fn needs(&self) -> Set {
        self.places
            .iter()
            .fold(0, |set, place| set | 1 << place.input)
    }

    /// The condition over columns whose positions `position` knows.
    fn at(&self, position: impl Fn(Place) -> Result<usize>) -> Result<Arc<dyn PhysicalExpr>> {
        let positions = self.places.iter().map(|place| position(*place));
        let positions = positions.collect::<Result<Vec<_>>>()?;
        renumbered(&self.expr, |column| positions.get(column).copied())
    }
}

/// A join that gives only the columns that are wanted above.
fn kept(part: Part, wanted: &[Place]) -> Result<Part> {
    let positions = 0..part.places.len();
    let kept: Vec<usize> = positions
        .filter(|position| wanted.contains(&part.places[*position]))
        .collect();
    let Some(join) = part.plan.downcast_ref::<HashJoinExec>() else {
        return Ok(part);
    };
    if kept.len() == part.places.len() {
        return Ok(part);
    }
    let places = kept.iter().map(|position| part.places[*position]).collect();
    Ok(Part {
        plan: Arc::new(join.with_projection(Some(kept))?),
        places,
    })
}

/// All conditions of a join as DataFusion wants them.
fn join_filter(conditions: &[&Condition], left: &Part, right: &Part) -> Result<Option<JoinFilter>> {
    let mut all: Option<Arc<dyn PhysicalExpr>> = None;
    let (mut indices, mut fields) = (Vec::new(), Vec::new());
    for condition in conditions {
        let offset = indices.len();
        let expr = renumbered(&condition.expr, |column| Some(column + offset))?;
        for place in &condition.places {
            let (index, side) = match left.position(*place) {
                Ok(index) => (index, JoinSide::Left),
                Err(_) => (right.position(*place)?, JoinSide::Right),
            };
            indices.push(ColumnIndex { index, side });
        }
        fields.extend(condition.fields.iter().cloned());
        all = Some(match all {
            Some(all) => Arc::new(BinaryExpr::new(all, Operator::And, expr)),
            None => expr,
        });
    }
    Ok(all.map(|expr| JoinFilter::new(expr, indices, Arc::new(Schema::new(fields)))))
}

/// The expression with its columns at other positions.
fn renumbered(
    expr: &Arc<dyn PhysicalExpr>,
    position: impl Fn(usize) -> Option<usize>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform(|node| {
        let Some(column) = node.downcast_ref::<Column>() else {
            return Ok(Transformed::no(node));
        };
        let moved = position(column.index())
            .ok_or_else(|| internal_datafusion_err!("column {column} is not there"))?;
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), moved));
        Ok(Transformed::yes(column))
    })?;
    Ok(moved.data)
}

fn place(columns: &[Place], position: Option<usize>) -> Result<Place> {
    position
        .and_then(|position| columns.get(position).copied())
        .ok_or_else(|| internal_datafusion_err!("a join has no column at {position:?}"))
}

fn projected(columns: Vec<Place>, projection: Option<&[usize]>) -> Result<Vec<Place>> {
    match projection {
        Some(positions) => positions
            .iter()
            .map(|p| place(&columns, Some(*p)))
            .collect(),
        None => Ok(columns),
    }
}
