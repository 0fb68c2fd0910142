//! Test only: the JSON Schemas in `conf/` are those of the types that read the files.
//!
//! `UPDATE_SCHEMAS=1 cargo test schema` writes them anew.

use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Compares `conf/NAME` with the schema of `T`, or writes it.
#[expect(clippy::disallowed_methods, reason = "a test of files in the repository")]
pub(crate) fn assert_current<T: JsonSchema>(name: &str, title: &str) {
    let schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    without_null(&mut schema);
    schema["title"] = title.into();
    let text = format!("{schema:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf").join(name);
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == text, "conf/{name} is not current: run UPDATE_SCHEMAS=1 cargo test schema");
}

/// An absent key is not null: a key without a value is refused.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            for word in ["anyOf", "oneOf"] {
                let Some(Value::Array(choices)) = map.get_mut(word) else { continue };
                choices.retain(|choice| choice.get("type") != Some(&"null".into()));
                if let [only] = choices.as_slice()
                    && let Value::Object(only) = only.clone()
                {
                    map.remove(word);
                    map.extend(only);
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}
