//! Tables: columns under a heading, without borders, so that they can be cut and searched.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};

/// A table in the making.
pub(crate) struct Columns {
    table: Table,
    colour: bool,
}

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Columns {
    /// A table with these headings.
    pub(crate) fn new(colour: bool, headings: &[(&str, Align)]) -> Self {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(headings.iter().map(|(heading, _)| *heading));
        for (column, (_, align)) in table.column_iter_mut().zip(headings) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table, colour }
    }

    /// Adds a row. A cell that is empty shows a dash, so that columns can be counted.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let colour = self.colour;
        self.table.add_row(cells.into_iter().map(|text| {
            let text = if text.is_empty() {
                "-".to_owned()
            } else {
                text
            };
            match meaning(&text).filter(|_| colour) {
                Some(colour) => Cell::new(text).fg(colour),
                None => Cell::new(text),
            }
        }));
    }

    /// The finished text.
    pub(crate) fn text(&self) -> String {
        self.table.trim_fmt()
    }
}

/// The colour of words that say how something is.
fn meaning(word: &str) -> Option<Color> {
    match word {
        "DONE" | "UN" | "UP" => Some(Color::Green),
        "NEW" | "RUNNING" => Some(Color::Cyan),
        "STOPPING" | "STOPPED" => Some(Color::Yellow),
        "ERROR" | "ABORTED" | "DN" | "DOWN" => Some(Color::Red),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(colour: bool) -> String {
        let mut columns = Columns::new(
            colour,
            &[
                ("TASK", Align::Left),
                ("STATUS", Align::Left),
                ("SIZE", Align::Right),
            ],
        );
        columns.row(["backup/1".into(), "DONE".into(), "1 B".into()]);
        columns.row(["b".into(), String::new(), "12 B".into()]);
        columns.text()
    }

    #[test]
    fn columns_line_up_without_borders() {
        assert_eq!(
            sample(false),
            "TASK      STATUS  SIZE\nbackup/1  DONE     1 B\nb         -       12 B"
        );
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(sample(true).contains('\u{1b}') && !sample(false).contains('\u{1b}'));
    }
}
