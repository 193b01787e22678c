//! Keyspaces and tables under other names.

use cql::{Renames, Schema, Stage};

use crate::{FUNCTION, INDEX, KEYSPACE, TABLE, TYPE, VIEW, names, row, rows, schema, texts};

fn renames(tables: &[(&str, &str)], keyspaces: &[(&str, &str)]) -> Renames {
    let place = |name: &str| {
        let (keyspace, table) = name.split_once('.').unwrap();
        (keyspace.to_owned(), table.to_owned())
    };
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    Renames {
        keyspaces: keyspaces.iter().map(owned).collect(),
        tables: tables.iter().map(|(a, b)| (place(a), place(b))).collect(),
    }
}

#[test]
fn a_keyspace_is_renamed_with_all_that_is_in_it() {
    let renamed = schema()
        .renamed(&renames(&[], &[("shop", "Sh\"op")]))
        .unwrap();
    let new = "\"Sh\"\"op\"";
    let end = |text: &str| text.trim_end_matches(';').to_owned();
    let keyspace = end(KEYSPACE).replace("KEYSPACE shop", &format!("KEYSPACE {new}"));
    assert_eq!(texts(&renamed, Stage::Keyspaces), [keyspace]);
    let sort = end(TYPE)
        .replace("shop.address", &format!("{new}.\"address\""))
        .replace("shop.code", &format!("{new}.code"));
    assert_eq!(texts(&renamed, Stage::Types), [sort]);
    let function = end(FUNCTION)
        .replace("shop.twice", &format!("{new}.\"twice\""))
        .replace("shop.address", &format!("{new}.address"));
    assert_eq!(texts(&renamed, Stage::Functions), [function]);
    let (create, alter) = TABLE.split_once(";\nALTER").unwrap();
    let create = create
        .replace("shop.users", &format!("{new}.\"users\""))
        .replace("shop.address", &format!("{new}.address"))
        .replace("ID = 1b4d4b70-7f5a-11f0-9e2c-000000000001\n    AND ", "");
    let (alter, _) = alter.split_once(';').unwrap();
    let alter = format!("ALTER{alter}").replace("shop.users", &format!("{new}.\"users\""));
    assert_eq!(texts(&renamed, Stage::Tables), [create, alter]);
    let index = end(INDEX).replace("shop.users", &format!("{new}.\"users\""));
    let view = end(VIEW)
        .replace("shop.by_price", &format!("{new}.\"by_price\""))
        .replace("shop.users", &format!("{new}.\"users\""))
        .replace("\n    WITH ID = 1b4d4b70-7f5a-11f0-9e2c-000000000002", "");
    assert_eq!(texts(&renamed, Stage::Views), [index, view]);
    let grants = &texts(&renamed, Stage::Access)[1..3];
    let expected = [
        format!("GRANT SELECT ON TABLE {new}.\"users\" TO ada"),
        format!("GRANT CREATE ON KEYSPACE {new} TO ada"),
    ];
    assert_eq!(grants, expected);
    assert_eq!(renamed.objects[3].full_name(), "\"Sh\"\"op\".users");
}

#[test]
fn a_side_table_takes_its_views_along_under_other_names() {
    let renames = renames(&[("shop.users", "shop.users_old")], &[]);
    let renamed = schema().renamed(&renames).unwrap();
    let names = names(&renamed);
    assert_eq!(
        names[3..6],
        [
            "table shop.users_old",
            "index shop.users_old_users_home",
            "view shop.users_old_by_price"
        ]
    );
    let views = texts(&renamed, Stage::Views);
    assert_eq!(
        views[0],
        "CREATE INDEX \"users_old_users_home\" ON \"shop\".\"users_old\" (home)"
    );
    assert!(
        views[1].contains("FROM \"shop\".\"users_old\"\n"),
        "{}",
        views[1]
    );
    let drops: Vec<_> = renamed
        .stage(Stage::Views)
        .map(|o| o.drop().unwrap())
        .collect();
    let expected = [
        "DROP INDEX IF EXISTS \"shop\".\"users_old_users_home\"",
        "DROP MATERIALIZED VIEW IF EXISTS \"shop\".\"users_old_by_price\"",
    ];
    assert_eq!(drops, expected);
}

#[test]
fn types_follow_tables_into_each_keyspace() {
    let mut rows = rows();
    rows.push(row(
        "shop",
        "table",
        "t",
        "CREATE TABLE shop.t (a int PRIMARY KEY)",
    ));
    let renames = renames(&[("shop.users", "drill.users")], &[]);
    let renamed = Schema::read(&rows).unwrap().renamed(&renames).unwrap();
    let expected = [
        "keyspace drill",
        "keyspace shop",
        "type drill.address",
        "type shop.address",
        "function drill.twice(int, address)",
        "function shop.twice(int, address)",
        "table drill.users",
        "table shop.t",
        "index drill.users_home",
        "view drill.by_price",
    ];
    assert_eq!(names(&renamed)[..10], expected);
}

#[test]
fn two_of_one_name_are_refused() {
    let mut rows = rows();
    rows.push(row(
        "shop",
        "table",
        "t",
        "CREATE TABLE shop.t (a int PRIMARY KEY)",
    ));
    let renames = renames(&[("shop.users", "shop.t")], &[]);
    let error = Schema::read(&rows).unwrap().renamed(&renames).unwrap_err();
    assert!(
        error.to_string().starts_with("table `shop.t` would come"),
        "{error}"
    );
}
