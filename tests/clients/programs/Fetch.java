// A call and an upload with Java's own clients. Arguments: origin, proxy, CA file, and HTTP_1_1, HTTP_2 or URL.
import java.io.FileInputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Fetch {
    public static void main(String[] args) {
        try {
            URI url = URI.create(args[0] + "/echo");
            URI proxy = URI.create(args[1]);
            InetSocketAddress address = new InetSocketAddress(proxy.getHost(), proxy.getPort());
            if (args[3].equals("URL")) {
                connection(url, new Proxy(Proxy.Type.HTTP, address), trust(args[2]));
            } else {
                client(url, address, trust(args[2]), HttpClient.Version.valueOf(args[3]));
            }
            System.exit(0);
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.out.println(cause);
            }
            System.exit(1);
        }
    }

    static void client(URI url, InetSocketAddress proxy, SSLContext tls, HttpClient.Version version) throws Exception {
        HttpClient client =
            HttpClient.newBuilder().proxy(ProxySelector.of(proxy)).sslContext(tls).version(version).build();
        HttpResponse<String> answer =
            client.send(HttpRequest.newBuilder(url).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println("GET " + answer.statusCode() + " " + answer.version() + " " + answer.body());
        if (answer.statusCode() != 200) {
            System.exit(1);
        }
        HttpRequest upload =
            HttpRequest.newBuilder(url).POST(HttpRequest.BodyPublishers.ofString("x".repeat(300000))).build();
        answer = client.send(upload, HttpResponse.BodyHandlers.ofString());
        boolean whole = answer.body().contains("\"length\": 300000");
        System.out.println("POST " + answer.statusCode() + " " + (whole ? "300000" : answer.body()));
    }

    static void connection(URI url, Proxy proxy, SSLContext tls) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection(proxy);
        if (connection instanceof HttpsURLConnection) {
            ((HttpsURLConnection) connection).setSSLSocketFactory(tls.getSocketFactory());
        }
        System.out.println("GET " + connection.getResponseCode() + " HttpURLConnection");
    }

    static SSLContext trust(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream pem = new FileInputStream(file)) {
            store.setCertificateEntry("tests", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        return tls;
    }
}
