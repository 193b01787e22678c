//! What is there against what would be made.

use catalog::schema::Row;
use cql::{Aspect, Schema, differences};

use crate::{ROLE, one, row, rows, schema};

#[test]
fn secrets_are_not_shown() {
    let role = one(ROLE);
    assert!(role.text().contains("secret"));
    assert!(!role.shown().contains("secret") && role.shown().contains("'***'"));
    assert!(!format!("{:?}", schema()).contains("secret"));
    for text in [
        "CREATE USER a WITH PASSWORD 'secret' SUPERUSER",
        "X 1 WITH PASSWORD = 'secret'",
    ] {
        assert!(!one(text).shown().contains("secret"), "{text}");
        let rows = [row("", "role", "a", text)];
        let there = Schema::read(&[row("", "role", "a", "X 2; CREATE USER a WITH y = 1")]).unwrap();
        let wanted = Schema::read(&rows).unwrap();
        let found = format!("{:?}", differences(&there, &wanted));
        assert!(
            found.contains("details") && !found.contains("secret"),
            "{found}"
        );
    }
}

fn with(change: impl Fn(&mut Row)) -> Schema {
    let mut rows = rows();
    rows.iter_mut().for_each(change);
    Schema::read(&rows).unwrap()
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let other = with(|row| {
        let text = &mut row.cql_stmt;
        *text = text
            .replace(
                "CREATE TABLE shop.users",
                "create  table IF NOT EXISTS \"shop\".\"users\"",
            )
            .replace("frozen<shop.address>", "FROZEN < \"address\" >")
            .replace("000000000001", "00000000000f")
            .replace("street text", "street varchar")
            .replace(
                "'keys': 'ALL', 'rows_per_partition': 'ALL'",
                "'rows_per_partition':'ALL','keys':'ALL'",
            )
            .replace("crc_check_chance = 1", "crc_check_chance = 1.0")
            .replace("PRIMARY KEY (id,", "PRIMARY KEY ((id),")
            .replace("org.apache.cassandra.locator.", "")
            .replace("'dc1': '3', 'dc2': '2'", "'dc2': 2, 'dc1': 3")
            .replace(
                "true AND tablets = {'initial': 8}",
                "true and tablets = {'initial':'8'}",
            )
            .replace("$6$secret", "$6$other");
    });
    assert_eq!(differences(&schema(), &other), []);
    assert_eq!(differences(&other, &schema()), []);
    for (a, b) in other.objects.iter().zip(&schema().objects) {
        assert!(cql::same(a, b), "{}", a.full_name());
    }
}

#[test]
fn differences_are_told_in_sentences() {
    let here = with(|row| {
        let text = &mut row.cql_stmt;
        *text = text
            .replace("price decimal", "price int")
            .replace("(id, \"When\")", "((id, \"When\"))")
            .replace("crc_check_chance = 1", "gc_grace_seconds = 5")
            .replace(
                " DROP old USING TIMESTAMP 1700000000000000",
                " DROP new USING TIMESTAMP 7",
            )
            .replace(
                "street text,\n    zip frozen<shop.code>",
                "zip frozen<code>, street text",
            )
            .replace("(home)", "(price)")
            .replace("'dc2': '2'", "'dc2': '1'")
            .replace("LOGIN = true", "LOGIN = false");
    });
    let found = differences(&here, &schema());
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "keyspace `shop`: option `replication` is `{class: NetworkTopologyStrategy, dc1: 3, \
            dc2: 1}` here and `{class: NetworkTopologyStrategy, dc1: 3, dc2: 2}` in the backup",
        "type `shop.address`: the order of its fields is `zip, street` here and `street, zip` in \
            the backup",
        "table `shop.users`: column `price` is `int` here and `decimal` in the backup; the primary \
            key is `((id, \"When\"))` here and `((id), \"When\")` in the backup; dropped column \
            `new` (`using timestamp 7`) is here and not in the backup; dropped column `old` (`using \
            timestamp 1700000000000000`) is in the backup and not here; option `crc_check_chance` \
            (`1`) is in the backup and not here; option `gc_grace_seconds` (`5`) is here and not in \
            the backup",
        "index `shop.users_home`: it is `on users(price)` here and `on users(home)` in the backup",
        "role `ada`: option `login` is `false` here and `true` in the backup",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        found[2].details[0].aspect,
        Aspect::Column("price".to_owned())
    );
    assert!(found.iter().all(|d| !d.is_missing()));
}

#[test]
fn what_is_missing_is_told_and_superusers_are_accepted() {
    let superuser = |hash: &str| {
        let text = format!(
            "CREATE ROLE IF NOT EXISTS cassandra WITH HASHED PASSWORD = '{hash}' AND LOGIN = true \
                AND SUPERUSER = true"
        );
        Schema::read(&[row("", "role", "cassandra", &text)]).unwrap()
    };
    assert_eq!(differences(&superuser("a"), &superuser("b")), []);
    let found = differences(&superuser("a"), &schema());
    assert_eq!(found.len(), schema().objects.len());
    assert!(found.iter().all(cql::Difference::is_missing));
    assert_eq!(found[0].to_string(), "keyspace `shop`: it is not here");
}

#[test]
fn columns_that_came_back_count_as_there() {
    let table = |text: &str| Schema::read(&[row("a", "table", "t", text)]).unwrap();
    let drop = "ALTER TABLE a.t DROP c USING TIMESTAMP 1;";
    let a = table(&format!(
        "CREATE TABLE a.t (b int PRIMARY KEY, c int); {drop} ALTER TABLE a.t ADD c int;"
    ));
    let b = table(&format!(
        "CREATE TABLE a.t (c int, b int, PRIMARY KEY (b)); {drop}"
    ));
    let found = differences(&a, &b);
    assert_eq!(
        found[0].what(),
        "column `c` (`int`) is here and not in the backup"
    );
}
