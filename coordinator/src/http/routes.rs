//! The routes of the HTTP door, once, and their `OpenAPI` description with its page.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi as Description, Server};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem::{Problem, RequestError};
use super::request::BODY_BYTES_MAX;
use super::{
    __path_exposition, __path_liveness, __path_readiness, Door, exposition, liveness, queries,
    readiness, sql,
};

/// Where the description is.
const DESCRIPTION_PATH: &str = "/api/v1/openapi.json";
/// Where people read it.
const PAGE_PATH: &str = "/api/docs";

/// Every route.
fn table() -> Vec<(&'static str, MethodRouter<Door>)> {
    vec![
        ("/api/v1/sql", axum::routing::post(sql::run)),
        ("/api/v1/queries", get(queries::list).post(queries::submit)),
        (
            "/api/v1/queries/{id}",
            get(queries::status).delete(queries::cancel),
        ),
        ("/api/v1/queries/{id}/results", get(queries::results)),
        ("/health/live", get(liveness)),
        ("/health/ready", get(readiness)),
        ("/metrics", get(exposition)),
    ]
}

/// The router of the door.
pub(super) fn router(door: Door) -> Router {
    let page = SwaggerUi::new(PAGE_PATH)
        .url(DESCRIPTION_PATH, description())
        // The badge of an external validator is not asked for.
        .config(Config::from(DESCRIPTION_PATH).validator_url("none"));
    table()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
        .merge(page)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::map_response(guarded))
        .with_state(door)
}

/// Answers are what they say they are, and show nothing of others.
async fn guarded(mut response: Response) -> Response {
    const GUARDS: [(HeaderName, &str); 3] = [
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (
            HeaderName::from_static("content-security-policy"),
            "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in GUARDS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn unknown_path(uri: Uri) -> Problem {
    let path = uri.path().to_owned();
    RequestError::UnknownPath { path }.into()
}

async fn wrong_method(uri: Uri) -> Problem {
    let path = uri.path().to_owned();
    RequestError::WrongMethod { path }.into()
}

/// The description of the API, made from the handlers and the types they read and write.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tarn",
        description = "SQL over Apache Iceberg tables. `POST /api/v1/sql` runs a statement and streams its rows; `/api/v1/queries` submits one and fetches its results later. Errors are `application/problem+json` with the SQLSTATE that every door reports.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        sql::run,
        queries::list,
        queries::submit,
        queries::status,
        queries::cancel,
        queries::results,
        liveness,
        readiness,
        exposition,
    ),
    components(schemas(Problem)),
    tags(
        (name = "statements", description = "Run a statement and read its rows at once"),
        (name = "queries", description = "Submit a statement, look how far it is, fetch its results, cancel it"),
        (name = "server", description = "Health and metrics; without authentication"),
    ),
    security(("password" = []), ("token" = [])),
    modifiers(&Schemes),
)]
struct Api;

/// How clients show who they are.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, description: &mut Description) {
        let components = description.components.get_or_insert_default();
        let mut add = |name: &str, scheme: HttpAuthScheme, text: &str| {
            let mut http = Http::new(scheme);
            http.description = Some(text.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(http));
        };
        add(
            "password",
            HttpAuthScheme::Basic,
            "User with password or personal access token",
        );
        add("token", HttpAuthScheme::Bearer, "Personal access token");
    }
}

fn description() -> Description {
    let mut description = Api::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut description.info.version);
    description.servers = Some(vec![Server::new("/")]);
    description
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = serde_json::to_value(description()).unwrap();
        let mut described: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
        let table = table();
        let mut routes: Vec<&str> = table.iter().map(|(path, _)| *path).collect();
        described.sort();
        routes.sort_unstable();
        assert_eq!(described, routes);
        for (path, methods) in &table {
            // The router knows its methods only in its debug text.
            let text = format!("{methods:?}");
            for method in ["get", "post", "put", "patch", "delete"] {
                let served = text.contains(&format!(" {method}: BoxedHandler"));
                let described = document["paths"][path].get(method).is_some();
                assert_eq!(served, described, "{method} {path}: {text}");
            }
        }
    }

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        fn check(value: &Value, root: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{target}");
                    }
                    map.values().for_each(|v| check(v, root));
                }
                Value::Array(items) => items.iter().for_each(|v| check(v, root)),
                _ => {}
            }
        }
        let document = serde_json::to_value(description()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert!(document["components"]["securitySchemes"]["token"].is_object());
        check(&document, &document);
    }
}
