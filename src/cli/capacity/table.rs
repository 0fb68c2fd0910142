//! Columns that are as wide as what is in them.

use std::fmt;

/// How a column is set, and its least width. What is set left is followed by a figure, or its least
/// width is enough.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column {
    Left(usize),
    Right(usize),
    /// As it is, up to the end of the line.
    Last,
}

/// Two spaces at least before a figure: a single one may be between thousands.
const GAP: usize = 2;

/// The same columns for all rows, and what stands below some of them.
pub(super) struct Table<const N: usize> {
    pub(super) columns: [Column; N],
    pub(super) rows: Vec<([String; N], String)>,
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (cells, below) in &self.rows {
            for ((cell, column), width) in cells.iter().zip(self.columns).zip(widths) {
                match column {
                    Column::Left(least) => write!(f, "{cell:<0$}", width.max(least))?,
                    Column::Right(least) => write!(f, "{cell:>0$}", (width + GAP).max(least))?,
                    Column::Last => write!(f, "{cell}")?,
                }
            }
            write!(f, "\n{below}")?;
        }
        Ok(())
    }
}
