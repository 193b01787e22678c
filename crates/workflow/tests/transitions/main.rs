//! Each transition and each verdict, one at a time.

mod backup;
mod case;
mod errand;
mod limits;
mod parallel;
mod restore;
mod shape;
mod tidy;
