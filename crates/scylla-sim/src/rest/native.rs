//! Native backup and restore (being built).

use super::Route;

pub(super) const ROUTES: &[Route] = &[];
