//! Which task a command means: `<type>/<id or name>`, an id alone, or a type alone when there is only
//! one task of it.

use crate::{
    error::{Exit, Failure},
    shape::Task,
};

/// Choices an error lists at most; a screen holds as many.
const CHOICES: usize = 20;

/// The task that `text` names.
///
/// # Errors
/// `NotFound` if there is none, `Usage` if there are several. Both list what there is.
pub(crate) fn resolve<'a>(text: &str, tasks: &'a [Task]) -> Result<&'a Task, Failure> {
    let found: Vec<&Task> = match text.split_once('/') {
        Some((kind, rest)) => {
            let of_kind = || tasks.iter().filter(|task| task.kind == kind);
            let by_id: Vec<_> = of_kind()
                .filter(|task| task.id.eq_ignore_ascii_case(rest))
                .collect();
            if by_id.is_empty() {
                of_kind()
                    .filter(|task| task.name == rest && !rest.is_empty())
                    .collect()
            } else {
                by_id
            }
        }
        None => {
            let by_id: Vec<_> = tasks
                .iter()
                .filter(|task| task.id.eq_ignore_ascii_case(text))
                .collect();
            if by_id.is_empty() {
                tasks.iter().filter(|task| task.kind == text).collect()
            } else {
                by_id
            }
        }
    };
    match found[..] {
        [task] => Ok(task),
        [] => Err(none(text, tasks)),
        _ => Err(several(
            &format!("`{text}` may be any of {} tasks", found.len()),
            &found,
        )),
    }
}

/// The task whose run a person most likely wants to see: the one under way, else the one that ran last.
pub(crate) fn latest(tasks: &[Task]) -> Result<&Task, Failure> {
    let active: Vec<&Task> = tasks.iter().filter(|task| task.active()).collect();
    match active[..] {
        [task] => Ok(task),
        // Times of one form, all UTC: the later sorts later. Run ids break ties; later ones sort later, too.
        [] => tasks
            .iter()
            .filter(|task| task.run_id.is_some())
            .max_by_key(|task| {
                (
                    task.last_success.as_ref().max(task.last_error.as_ref()),
                    &task.run_id,
                )
            })
            .ok_or_else(|| {
                Failure::new(Exit::NotFound, "no task of this cluster has run yet").advise(BEGIN)
            }),
        _ => Err(several(
            &format!("{} tasks are under way; name one", active.len()),
            &active,
        )),
    }
}

/// What to do in a cluster without tasks.
const BEGIN: &str = "begin with: thetis backup -c CLUSTER -L s3:BUCKET";

fn none(text: &str, tasks: &[Task]) -> Failure {
    let failure = Failure::new(Exit::NotFound, format!("no task `{text}`"));
    if tasks.is_empty() {
        return failure.because("this cluster has no tasks").advise(BEGIN);
    }
    failure.advise(choices(&tasks.iter().collect::<Vec<_>>()))
}

fn several(message: &str, tasks: &[&Task]) -> Failure {
    Failure::new(Exit::Usage, message).advise(choices(tasks))
}

fn choices(tasks: &[&Task]) -> String {
    let mut lines = vec!["name one of these as <type>/<id or name>:".to_owned()];
    lines.extend(tasks.iter().take(CHOICES).map(|task| {
        let name = if task.name.is_empty() {
            String::new()
        } else {
            format!(" ({})", task.name)
        };
        format!("  {}{name} {}", task.label(), task.status)
    }));
    if tasks.len() > CHOICES {
        lines.push(format!(
            "  and {} more: thetis tasks",
            tasks.len() - CHOICES
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: &str, id: &str, name: &str) -> Task {
        Task {
            kind: kind.into(),
            id: id.into(),
            name: name.into(),
            status: "DONE".into(),
            ..Task::default()
        }
    }

    fn tasks() -> Vec<Task> {
        vec![
            task("backup", "b1", "nightly"),
            task("backup", "b2", "b1"),
            task("restore", "r1", ""),
        ]
    }

    #[test]
    fn a_task_is_named_in_four_ways() {
        let tasks = tasks();
        for (text, id) in [
            ("backup/b1", "b1"),
            ("backup/B2", "b2"),
            ("backup/nightly", "b1"),
            ("b2", "b2"),
            ("restore", "r1"),
        ] {
            assert_eq!(resolve(text, &tasks).unwrap().id, id, "{text}");
        }
    }

    #[test]
    fn what_names_no_task_is_told_what_there_is() {
        for text in ["restore/b1", "backup/", "verify", "nightly"] {
            let failure = resolve(text, &tasks()).unwrap_err();
            assert_eq!(failure.exit, Exit::NotFound, "{text}");
            assert!(
                failure.advice.contains("backup/b1 (nightly) DONE"),
                "{}",
                failure.advice
            );
            assert!(
                failure.advice.contains("restore/r1 DONE"),
                "{}",
                failure.advice
            );
        }
        assert!(
            resolve("backup", &[])
                .unwrap_err()
                .to_string()
                .contains("has no tasks")
        );
    }

    #[test]
    fn what_may_be_several_is_told_which() {
        let failure = resolve("backup", &tasks()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.advice.contains("b1") && !failure.advice.contains("r1"),
            "{}",
            failure.advice
        );
    }

    #[test]
    fn the_task_under_way_comes_before_the_last_one() {
        let ran = |mut task: Task, status: &str, at: &str| {
            task.status = status.into();
            task.run_id = Some(at.into());
            task.last_success = Some(at.into());
            task
        };
        let [a, b, c] = tasks().try_into().unwrap();
        let mut all = vec![
            ran(a, "DONE", "2026-01-02"),
            ran(b, "DONE", "2026-01-01"),
            c,
        ];
        assert_eq!(latest(&all).unwrap().id, "b1");
        all[2].status = "NEW".into();
        assert_eq!(
            latest(&all).unwrap().id,
            "b1",
            "a task that never ran is not under way"
        );
        all[2].status = "RUNNING".into();
        assert_eq!(latest(&all).unwrap().id, "r1");
        all[1].status = "STOPPING".into();
        assert_eq!(latest(&all).unwrap_err().exit, Exit::Usage);
        assert_eq!(latest(&tasks()).unwrap_err().exit, Exit::NotFound);
    }
}
