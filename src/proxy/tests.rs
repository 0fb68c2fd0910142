//! Of the data path as a whole.

mod simulation;
