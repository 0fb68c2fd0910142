//! The part of CloudWatch Logs Insights' query language that `docs/access-log.md` uses: `fields`, `filter`, `stats`, `sort` and
//! `limit`. What is not in it, or names a field that no line can have, is an error, as it would be a wrong answer there.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use latticegate_core::config::LogField;
use serde_json::Value as Json;

/// A result: the columns by their names, in the order of the rows.
pub(super) type Rows = Vec<BTreeMap<String, Value>>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// The line has no such field.
    Null,
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

#[derive(Debug, Clone)]
enum Expression {
    Field(String),
    Literal(Value),
    Call(String, Vec<Expression>),
    Compare(Box<Expression>, &'static str, Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Both(Box<Expression>, Box<Expression>),
    Either(Box<Expression>, Box<Expression>),
}

#[derive(Debug)]
struct Column {
    expression: Expression,
    name: String,
}

#[derive(Debug)]
enum Command {
    Fields(Vec<Column>),
    Filter(Expression),
    Stats { columns: Vec<Column>, by: Vec<Column> },
    Sort(String, bool),
    Limit(usize),
}

/// Of these lines, as the log has them.
pub(super) fn run(query: &str, lines: &[String]) -> Rows {
    let mut rows: Rows = lines.iter().map(|line| flat(line)).collect();
    for command in parse(query) {
        rows = match command {
            Command::Filter(condition) => rows.into_iter().filter(|row| is_true(&value(&condition, row))).collect(),
            Command::Fields(columns) => rows.iter().map(|row| shown(&columns, row)).collect(),
            Command::Stats { columns, by } => stats(&columns, &by, &rows),
            Command::Sort(column, descending) => {
                assert!(rows.iter().all(|row| row.contains_key(&column)), "sort: no column {column}");
                rows.sort_by(|a, b| {
                    let order = order(&a[&column], &b[&column]);
                    if descending { order.reverse() } else { order }
                });
                rows
            }
            Command::Limit(most) => rows.into_iter().take(most).collect(),
        };
    }
    rows
}

/// The fields of a line, those of objects by names with a dot, and `@timestamp`.
fn flat(line: &str) -> BTreeMap<String, Value> {
    let mut row = BTreeMap::from([("@message".to_owned(), Value::Text(line.to_owned()))]);
    let json: Json = serde_json::from_str(line).unwrap();
    for (key, field) in json.as_object().unwrap() {
        match field {
            Json::Object(inner) => {
                row.extend(inner.iter().map(|(name, field)| (format!("{key}.{name}"), scalar(field))));
            }
            field => drop(row.insert(key.clone(), scalar(field))),
        }
    }
    if let Some(Value::Text(time)) = row.get("time") {
        let millis = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        row.insert("@timestamp".to_owned(), Value::Number(millis as f64));
    }
    row
}

fn scalar(json: &Json) -> Value {
    match json {
        Json::Number(number) => Value::Number(number.as_f64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Bool(flag) => Value::Number(f64::from(u8::from(*flag))),
        other => panic!("{other} is no field of Insights"),
    }
}

fn shown(columns: &[Column], row: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    columns.iter().map(|column| (column.name.clone(), value(&column.expression, row))).collect()
}

fn stats(columns: &[Column], by: &[Column], rows: &Rows) -> Rows {
    let mut groups: BTreeMap<String, (BTreeMap<String, Value>, Rows)> = BTreeMap::new();
    for row in rows {
        let key = shown(by, row);
        let group = groups.entry(format!("{key:?}")).or_insert_with(|| (key, Vec::new()));
        group.1.push(row.clone());
    }
    let results = groups.into_values().map(|(mut result, rows)| {
        result.extend(columns.iter().map(|column| (column.name.clone(), aggregate(&column.expression, &rows))));
        result
    });
    results.collect()
}

fn aggregate(expression: &Expression, rows: &Rows) -> Value {
    let Expression::Call(function, arguments) = expression else { panic!("stats needs a function: {expression:?}") };
    if function == "count" {
        assert!(matches!(&arguments[..], [Expression::Field(all)] if all == "*"), "count(*)");
        return Value::Number(rows.len() as f64);
    }
    let of = arguments.first().unwrap();
    let mut numbers: Vec<f64> = rows.iter().filter_map(|row| number(&value(of, row))).collect();
    numbers.sort_by(f64::total_cmp);
    let Some(last) = numbers.last() else { return Value::Null };
    Value::Number(match (function.as_str(), &arguments[1..]) {
        ("sum", []) => numbers.iter().sum(),
        ("max", []) => *last,
        ("min", []) => numbers[0],
        ("avg", []) => numbers.iter().sum::<f64>() / numbers.len() as f64,
        ("pct", [Expression::Literal(Value::Number(percent))]) => {
            numbers[((percent / 100.0 * numbers.len() as f64).ceil() as usize).clamp(1, numbers.len()) - 1]
        }
        _ => panic!("{function} with {arguments:?} is no aggregation"),
    })
}

fn value(expression: &Expression, row: &BTreeMap<String, Value>) -> Value {
    let flag = |flag: bool| Value::Number(f64::from(u8::from(flag)));
    match expression {
        Expression::Field(name) => row.get(name).cloned().unwrap_or(Value::Null),
        Expression::Literal(value) => value.clone(),
        Expression::Call(function, arguments) => match (function.as_str(), &arguments[..]) {
            ("coalesce", all) => {
                all.iter().map(|one| value(one, row)).find(|one| *one != Value::Null).unwrap_or(Value::Null)
            }
            ("ispresent", [one]) => flag(value(one, row) != Value::Null),
            ("bin", [Expression::Literal(Value::Number(millis))]) => {
                Value::Number((number(&row["@timestamp"]).unwrap() / millis).floor() * millis)
            }
            _ => panic!("{function} with {arguments:?} is no function"),
        },
        Expression::Compare(left, sign, right) => {
            let (left, right) = (value(left, row), value(right, row));
            if left == Value::Null || right == Value::Null {
                return flag(false);
            }
            let order = order(&left, &right);
            flag(match *sign {
                "=" => order.is_eq(),
                "!=" => order.is_ne(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                other => panic!("{other} compares nothing"),
            })
        }
        Expression::In(one, list) => {
            let one = value(one, row);
            flag(list.iter().any(|other| value(other, row) == one))
        }
        Expression::Both(left, right) => flag(is_true(&value(left, row)) && is_true(&value(right, row))),
        Expression::Either(left, right) => flag(is_true(&value(left, row)) || is_true(&value(right, row))),
    }
}

fn is_true(value: &Value) -> bool {
    number(value).is_some_and(|number| number != 0.0)
}

fn number(value: &Value) -> Option<f64> {
    if let Value::Number(number) = value { Some(*number) } else { None }
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Number(_), Value::Text(_)) => Ordering::Less,
        (Value::Text(_), Value::Number(_)) => Ordering::Greater,
    }
}

fn parse(query: &str) -> Vec<Command> {
    let mut tokens = tokens(query).into_iter().peekable();
    let mut commands = Vec::new();
    loop {
        commands.push(command(&mut tokens));
        match tokens.next() {
            None => return commands,
            Some(Token::Sign("|")) => {}
            Some(other) => panic!("{other:?} is not expected after {:?}", commands.last()),
        }
    }
}

type Tokens = Peekable<IntoIter<Token>>;

fn command(tokens: &mut Tokens) -> Command {
    match word(tokens).as_str() {
        "fields" => Command::Fields(columns(tokens)),
        "filter" => Command::Filter(condition(tokens)),
        "stats" => {
            let columns = columns(tokens);
            let by = if takes(tokens, &Token::Word("by".into())) { self::columns(tokens) } else { Vec::new() };
            Command::Stats { columns, by }
        }
        "sort" => {
            let column = word(tokens);
            let descending = takes(tokens, &Token::Word("desc".into()));
            let _ = !descending && takes(tokens, &Token::Word("asc".into()));
            Command::Sort(column, descending)
        }
        "limit" => match tokens.next() {
            Some(Token::Number(most)) if most >= 1.0 => Command::Limit(most as usize),
            other => panic!("limit {other:?}"),
        },
        other => panic!("{other} is no command"),
    }
}

fn columns(tokens: &mut Tokens) -> Vec<Column> {
    let mut columns = Vec::new();
    loop {
        let expression = operand(tokens);
        let name = match &expression {
            _ if takes(tokens, &Token::Word("as".into())) => word(tokens),
            Expression::Field(name) => name.clone(),
            Expression::Call(function, _) => function.clone(),
            other => panic!("{other:?} needs a name"),
        };
        columns.push(Column { expression, name });
        if !takes(tokens, &Token::Sign(",")) {
            return columns;
        }
    }
}

fn condition(tokens: &mut Tokens) -> Expression {
    let mut left = comparison(tokens);
    loop {
        if takes(tokens, &Token::Word("and".into())) {
            left = Expression::Both(left.into(), comparison(tokens).into());
        } else if takes(tokens, &Token::Word("or".into())) {
            left = Expression::Either(left.into(), comparison(tokens).into());
        } else {
            return left;
        }
    }
}

fn comparison(tokens: &mut Tokens) -> Expression {
    let left = operand(tokens);
    if takes(tokens, &Token::Word("in".into())) {
        assert!(takes(tokens, &Token::Sign("[")), "in needs a list");
        let mut list = vec![operand(tokens)];
        while takes(tokens, &Token::Sign(",")) {
            list.push(operand(tokens));
        }
        assert!(takes(tokens, &Token::Sign("]")), "the list has no end");
        return Expression::In(left.into(), list);
    }
    for sign in ["=", "!=", ">=", "<=", ">", "<"] {
        if takes(tokens, &Token::Sign(sign)) {
            return Expression::Compare(left.into(), sign, operand(tokens).into());
        }
    }
    left
}

fn operand(tokens: &mut Tokens) -> Expression {
    match tokens.next() {
        Some(Token::Number(number)) => Expression::Literal(Value::Number(number)),
        Some(Token::Text(text)) => Expression::Literal(Value::Text(text)),
        Some(Token::Sign("*")) => Expression::Field("*".into()),
        Some(Token::Word(word)) if takes(tokens, &Token::Sign("(")) => {
            let mut arguments = vec![operand(tokens)];
            while takes(tokens, &Token::Sign(",")) {
                arguments.push(operand(tokens));
            }
            assert!(takes(tokens, &Token::Sign(")")), "{word}( has no end");
            Expression::Call(word, arguments)
        }
        Some(Token::Word(word)) => Expression::Field(known(word)),
        other => panic!("{other:?} where a value belongs"),
    }
}

/// A field that a line can have.
fn known(name: String) -> String {
    const OF_OBJECTS: [(&str, &[&str]); 3] = [
        ("hello", &["bytes", "records", "alpn", "group", "ech"]),
        ("forward", &["method", "scheme", "port", "sni", "requests"]),
        ("request", &["method", "scheme", "host", "port", "status", "reason", "bytes_up", "bytes_down", "ms"]),
    ];
    let is_known = match name.split_once('.') {
        Some((object, key)) => OF_OBJECTS.iter().any(|(one, keys)| *one == object && keys.contains(&key)),
        None => {
            LogField::ALL.iter().any(|(word, _)| *word == name) || ["@timestamp", "repeated"].contains(&name.as_str())
        }
    };
    assert!(is_known, "no line has a field {name}");
    name
}

fn word(tokens: &mut Tokens) -> String {
    match tokens.next() {
        Some(Token::Word(word)) => word,
        other => panic!("{other:?} where a word belongs"),
    }
}

fn takes(tokens: &mut Tokens, token: &Token) -> bool {
    tokens.next_if(|next| next == token).is_some()
}

fn tokens(query: &str) -> Vec<Token> {
    const SIGNS: [&str; 14] = ["!=", ">=", "<=", "=", ">", "<", "|", "(", ")", "[", "]", ",", "*", "/"];
    let (mut tokens, mut rest) = (Vec::new(), query.trim_start());
    while let Some(first) = rest.chars().next() {
        let of = |allowed: fn(char) -> bool| rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        let taken = if first == '"' {
            let end = rest[1..].find('"').expect("a quote has no end") + 1;
            tokens.push(Token::Text(rest[1..end].to_owned()));
            end + 1
        } else if first.is_ascii_digit() {
            let end = of(|c| c.is_ascii_digit() || c == '.');
            let number: f64 = rest[..end].parse().unwrap();
            // A time for `bin`.
            let unit = match rest[end..].chars().next() {
                Some('s') => Some(1e3),
                Some('m') => Some(60e3),
                Some('h') => Some(3600e3),
                _ => None,
            };
            tokens.push(Token::Number(number * unit.unwrap_or(1.0)));
            end + usize::from(unit.is_some())
        } else if first.is_ascii_alphabetic() || "@_".contains(first) {
            let end = of(|c| c.is_ascii_alphanumeric() || "@_.".contains(c));
            tokens.push(Token::Word(rest[..end].to_owned()));
            end
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.unwrap_or_else(|| panic!("{rest} is no part of a query"));
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[taken..].trim_start();
    }
    tokens
}

/// The interpreter itself: right answers, and no answer to what is wrong.
#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 4] = [
        r#"{"time":"2026-11-21T10:00:01.000Z","reason":"done","total_ms":1,"hello":{"alpn":"h2"}}"#,
        r#"{"time":"2026-11-21T10:04:00.000Z","reason":"done","total_ms":3}"#,
        r#"{"time":"2026-11-21T10:05:00.000Z","reason":"idle","total_ms":5}"#,
        r#"{"time":"2026-11-21T10:06:00.000Z","reason":"name_denied","repeated":7}"#,
    ];

    fn table(query: &str) -> Vec<String> {
        let lines = LINES.map(str::to_owned);
        let text = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        };
        run(query, &lines).iter().map(|row| row.values().map(text).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn it_answers() {
        assert_eq!(table("filter reason = \"done\" and total_ms >= 3 | fields total_ms"), ["3"]);
        assert_eq!(
            table("filter reason in [\"idle\", \"none\"] or ispresent(hello.alpn) | fields reason"),
            ["done", "idle"]
        );
        assert_eq!(table("stats count(*) as n by reason | sort n desc | limit 1"), ["2 done"]);
        assert_eq!(table("stats sum(coalesce(repeated, 1)) as n"), ["10"]);
        assert_eq!(table("stats pct(total_ms, 50) as p50, max(total_ms) as top, avg(total_ms) as mean"), ["3 3 5"]);
        assert_eq!(table("stats count(*) as n by bin(5m) | sort n"), ["1795255200000 2", "1795255500000 2"]);
        assert_eq!(table("filter total_ms > 100 | stats max(total_ms) as top"), Vec::<String>::new());
    }

    #[test]
    #[should_panic(expected = "no line has a field reson")]
    fn a_field_that_no_line_has_is_an_error() {
        table("filter reson = \"done\"");
    }

    #[test]
    #[should_panic(expected = "dedup is no command")]
    fn a_command_that_is_not_there_is_an_error() {
        table("dedup reason");
    }
}
