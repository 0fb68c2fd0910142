//! The labels of rules as the access log has them, made once for each rule on each worker: a connection's record gets
//! one without formatting it, and without an atomic counter that the workers would contend for.

use std::cell::RefCell;
use std::rc::Rc;

use crate::reload::Loaded;
use latticegate_core::policy::RuleId;

/// Those of the newest list that has decided here: 16 bytes a rule, up to the last one that did.
#[derive(Default)]
pub(crate) struct RuleLabels(RefCell<Labels>);

#[derive(Default)]
struct Labels {
    /// The number of the list.
    list: u64,
    by_rule: Vec<Option<Rc<str>>>,
}

impl RuleLabels {
    pub(crate) fn of(&self, loaded: &Loaded, rule: RuleId) -> Rc<str> {
        let make = || loaded.policy.named_label(rule).to_string().into();
        let mut labels = self.0.borrow_mut();
        if labels.list < loaded.number {
            *labels = Labels { list: loaded.number, by_rule: Vec::new() };
        }
        // A connection may be judged by the list that admitted it after another one has come into force.
        if labels.list > loaded.number {
            return make();
        }
        let index = rule.index();
        if labels.by_rule.len() <= index {
            labels.by_rule.resize(index.saturating_add(1), None);
        }
        match labels.by_rule.get_mut(index) {
            Some(label) => Rc::clone(label.get_or_insert_with(make)),
            None => make(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latticegate_core::diagnostic::Origin;
    use latticegate_core::policy::Policy;

    fn list(number: u64, text: &str) -> Loaded {
        let mut loaded = Loaded::from(Policy::parse(text, Origin::file("ipcontrol.yaml")).unwrap());
        loaded.number = number;
        loaded
    }

    #[test]
    fn a_label_is_made_once_for_each_rule_of_the_newest_list() {
        let old = list(1, "rules:\n- deny: 10.0.0.1\n- { allow: all, name: partner }\n");
        let new = list(2, "rules:\n\n- deny: 10.0.0.1\n\n- { allow: all, name: other }\n");
        let [first, second] = [0, 1].map(|index| old.policy.rules().nth(index).unwrap().0);
        let labels = RuleLabels::default();
        let made = labels.of(&old, second);
        assert_eq!(&*made, "ipcontrol.yaml:3 [partner]");
        assert_eq!(&*labels.of(&old, first), "ipcontrol.yaml:2");
        assert!(Rc::ptr_eq(&made, &labels.of(&old, second)));
        let other = labels.of(&new, second);
        assert_eq!(&*other, "ipcontrol.yaml:5 [other]");
        assert_eq!(&*labels.of(&old, second), "ipcontrol.yaml:3 [partner]", "of a connection that it admitted");
        assert!(Rc::ptr_eq(&other, &labels.of(&new, second)), "which replaces nothing");
    }
}
